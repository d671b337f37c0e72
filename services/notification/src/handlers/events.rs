use contracts::{AnnouncementMade, Details, EventCancelled, EventEnded, EventEvent, EventRescheduled};
use messaging::{Failure, Handler, Received, Unit};
use mongo::{Mongo, to_bson};
use mongodb::bson::{Document, doc};

use crate::cause::StoredCause;
use crate::copies::{Changes, EVENTS, EventSummary, time};
use crate::mail::queue::{self, Missing};
use crate::mail_queue::MailQueues;
use crate::mailing::{self, Mailing, MailingContent};

/// Handles `events`: stores the data of events that e-mails contain, and starts mailings to all attendees.
pub(crate) struct FollowEvents(pub(crate) MailQueues);

impl Handler<Mongo> for FollowEvents {
    type Message = EventEvent;

    async fn handle(&mut self, unit: &mut Unit<Mongo>, messages: &[&Received<EventEvent>]) -> Result<(), Failure> {
        let ids: Vec<_> = messages.iter().map(|message| message.envelope.key).collect();
        let mut summaries = EventSummary::load(unit.tx(), &ids).await?;
        let mut events = Changes::default();
        let mut mailings = Vec::new();
        for message in messages {
            let event = message.envelope.key;
            let summary = summaries.entry(event).or_default();
            let content = mailing_content(summary, &message.body);
            if let Some(details) = message.body.details() {
                summary.starts_at = Some(time(details.starts_at));
                events.set(event, fields(&details));
            }
            match &message.body {
                EventEvent::EventCancelled(EventCancelled { reason, cancelled_at }) => {
                    events.set(
                        event,
                        doc! { "cancel_reason": reason, "cancelled_at": time(*cancelled_at) },
                    );
                }
                EventEvent::EventEnded(EventEnded { ended_at }) => {
                    events.set(event, doc! { "ended_at": time(*ended_at) });
                }
                EventEvent::EventCreated(_)
                | EventEvent::EventChanged(_)
                | EventEvent::EventPublished(_)
                | EventEvent::EventRescheduled(_)
                | EventEvent::StaffNamed(_)
                | EventEvent::AnnouncementMade(_) => {}
            }
            if let Some(content) = content {
                let mailing = Mailing::new(StoredCause::of(message), event, content);
                summary.last_mailing_at = summary.last_mailing_at.max(Some(mailing.published_at()));
                events.set(event, doc! { "last_told_at": summary.last_mailing_at });
                mailings.push((mailing, message.cause()));
            }
        }
        let ids = events.ids();
        events.write(unit.tx(), EVENTS).await?;
        mailing::start(unit, &mailings).await?;
        queue::release_waiting(unit, &self.0, Missing::Event, &ids).await?;
        Ok(())
    }
}

/// Returns the content of the mailing that a domain event causes, if any.
fn mailing_content(summary: &EventSummary, event: &EventEvent) -> Option<MailingContent> {
    match event {
        EventEvent::EventRescheduled(EventRescheduled { previous_starts_at, .. }) => {
            Some(MailingContent::Rescheduled {
                previous_starts_at: time(*previous_starts_at),
            })
        }
        EventEvent::AnnouncementMade(AnnouncementMade { subject, body, .. }) => Some(MailingContent::Announcement {
            subject: subject.clone(),
            body: body.clone(),
        }),
        // Topics are not ordered relative to each other, so seats may be known before the start is.
        event => {
            let starts_at = Some(time(event.details()?.starts_at));
            (summary.has_registrations() && summary.starts_at != starts_at).then_some(MailingContent::Reminders)
        }
    }
}

fn fields(details: &Details) -> Document {
    doc! {
        "organizer": to_bson(details.organizer_id),
        "title": &details.title,
        "venue": &details.venue,
        "starts_at": time(details.starts_at),
        "ends_at": time(details.ends_at),
        "time_zone": &details.time_zone,
    }
}
