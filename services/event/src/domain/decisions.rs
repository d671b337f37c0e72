//! What each command leads to.

use contracts::{
    Actor, Announce, AnnouncementMade, CancelEvent, ChangeEvent, CreateEvent, Details, EventCancelled, EventChanged,
    EventCreated, EventEnded, EventEvent, EventPublished, EventRescheduled, FieldError, NameStaff, RescheduleEvent,
    StaffNamed, Timestamp,
};

use super::{Event, Rejection, SELF, Status, form};

impl Event {
    pub(super) fn create(
        &self,
        actor: Option<&Actor>,
        now: Timestamp,
        create: &CreateEvent,
    ) -> Result<Vec<EventEvent>, Rejection> {
        if self.details.is_some() {
            return Err(Rejection::AlreadyExists);
        }
        let organizer_id = actor.and_then(Actor::user).ok_or(Rejection::NoOrganizer)?;
        let CreateEvent {
            title,
            description,
            venue,
            starts_at,
            ends_at,
            time_zone,
            capacity,
            registration_closes_at,
            waiting_list,
            registration_opens_at,
        } = create.clone();
        let details = Details {
            organizer_id,
            title,
            description,
            venue,
            starts_at,
            ends_at,
            time_zone,
            capacity,
            registration_opens_at,
            registration_closes_at,
            waiting_list,
            staff: Vec::new(),
        };
        valid(form::errors(&details, Some(now)))?;
        Ok(vec![EventCreated { details }.into()])
    }

    /// A draft may become anything that could be drafted now. Once published, its times are moved by
    /// [`reschedule`](Self::reschedule), and after the start only what it says of itself can be put right.
    pub(super) fn change(
        &self,
        actor: Option<&Actor>,
        now: Timestamp,
        change: &ChangeEvent,
    ) -> Result<Vec<EventEvent>, Rejection> {
        let before = self.details_for(actor)?;
        let published = self.is_published(before, now)?;
        let details = changed(before, change);
        if details == *before {
            return Ok(Vec::new());
        }
        if published && before.starts_at <= now {
            refused(form::started_errors(before, &details), Rejection::Started)?;
        } else if published {
            refused(form::reschedule_errors(before, &details), Rejection::UseReschedule)?;
        }
        valid(form::errors(&details, (!published).then_some(now)))?;
        Ok(vec![EventChanged { details, published }.into()])
    }

    pub(super) fn publish(&self, actor: Option<&Actor>, now: Timestamp) -> Result<Vec<EventEvent>, Rejection> {
        let details = self.details_for(actor)?;
        match self.status {
            Status::Absent => Err(Rejection::Unknown),
            Status::Published => Ok(Vec::new()),
            Status::Cancelled => Err(Rejection::Cancelled),
            Status::Ended => Err(Rejection::Ended),
            Status::Draft if details.starts_at <= now => Err(Rejection::Started(Vec::new())),
            Status::Draft => {
                let details = details.clone();
                Ok(vec![EventPublished { details }.into()])
            }
        }
    }

    /// Registration closes as long before the start as it did; if it was still to open, so does its opening.
    pub(super) fn reschedule(
        &self,
        actor: Option<&Actor>,
        now: Timestamp,
        reschedule: &RescheduleEvent,
    ) -> Result<Vec<EventEvent>, Rejection> {
        let before = self.details_for(actor)?;
        if !self.is_published(before, now)? {
            return Err(Rejection::NotPublished);
        }
        if before.starts_at <= now {
            return Err(Rejection::Started(Vec::new()));
        }
        // One of the two is zero.
        let (later, earlier) = (
            reschedule.starts_at.since(before.starts_at),
            before.starts_at.since(reschedule.starts_at),
        );
        let moved = |time: Timestamp| time + later - earlier;
        let opens_at = before
            .registration_opens_at
            .map(|time| if time > now { moved(time) } else { time });
        let details = Details {
            starts_at: reschedule.starts_at,
            ends_at: reschedule.ends_at,
            time_zone: reschedule.time_zone.as_ref().unwrap_or(&before.time_zone).clone(),
            registration_opens_at: reschedule.registration_opens_at.or(opens_at),
            registration_closes_at: reschedule
                .registration_closes_at
                .unwrap_or_else(|| moved(before.registration_closes_at)),
            ..before.clone()
        };
        if details == *before {
            return Ok(Vec::new());
        }
        valid(form::errors(&details, Some(now)))?;
        let (previous_starts_at, previous_ends_at) = (before.starts_at, before.ends_at);
        // Nobody has to be told of a new time that is the old one.
        if (details.starts_at, details.ends_at) == (previous_starts_at, previous_ends_at) {
            let published = true;
            return Ok(vec![EventChanged { details, published }.into()]);
        }
        Ok(vec![
            EventRescheduled {
                details,
                previous_starts_at,
                previous_ends_at,
            }
            .into(),
        ])
    }

    pub(super) fn name_staff(
        &self,
        actor: Option<&Actor>,
        now: Timestamp,
        name: &NameStaff,
    ) -> Result<Vec<EventEvent>, Rejection> {
        let before = self.details_for(actor)?;
        let published = self.is_published(before, now)?;
        // A set, so in an order of its own.
        let mut staff = name.staff.clone();
        staff.sort_unstable();
        valid(form::staff_errors(&staff, before.organizer_id))?;
        if staff == before.staff {
            return Ok(Vec::new());
        }
        let details = Details {
            staff,
            ..before.clone()
        };
        Ok(vec![StaffNamed { details, published }.into()])
    }

    /// Also when it is over: seats stay on record, and there may be something to thank for.
    pub(super) fn announce(&self, actor: Option<&Actor>, announce: &Announce) -> Result<Vec<EventEvent>, Rejection> {
        let organizer_id = self.details_for(actor)?.organizer_id;
        match self.status {
            Status::Absent => Err(Rejection::Unknown),
            Status::Draft => Err(Rejection::NotPublished),
            Status::Cancelled => Err(Rejection::Cancelled),
            Status::Published | Status::Ended => {
                valid(form::announcement_errors(announce))?;
                let Announce {
                    announcement_id,
                    subject,
                    body,
                } = announce.clone();
                Ok(vec![
                    AnnouncementMade {
                        announcement_id,
                        organizer_id,
                        subject,
                        body,
                    }
                    .into(),
                ])
            }
        }
    }

    pub(super) fn cancel(
        &self,
        actor: Option<&Actor>,
        now: Timestamp,
        cancel: &CancelEvent,
    ) -> Result<Vec<EventEvent>, Rejection> {
        let details = self.details_for(actor)?;
        if self.status == Status::Cancelled {
            return Ok(Vec::new());
        }
        self.is_published(details, now)?;
        valid(form::reason_errors(&cancel.reason))?;
        let reason = cancel.reason.clone();
        Ok(vec![
            EventCancelled {
                reason,
                cancelled_at: now,
            }
            .into(),
        ])
    }

    /// An `EndEvent` is sent whenever the event gets an end, to arrive then. Its time is the end that it was sent for,
    /// not when it was written: so it does nothing to an event that ends later by now.
    pub(super) fn end(&self, actor: Option<&Actor>, now: Timestamp) -> Result<Vec<EventEvent>, Rejection> {
        if actor != Some(&SELF) {
            return Err(Rejection::Unknown);
        }
        match &self.details {
            Some(details) if self.status == Status::Published && details.ends_at <= now => Ok(vec![
                EventEnded {
                    ended_at: details.ends_at,
                }
                .into(),
            ]),
            _ => Ok(Vec::new()),
        }
    }

    /// The details, for its organizer, admins and services; to anybody else there is no such event.
    fn details_for(&self, actor: Option<&Actor>) -> Result<&Details, Rejection> {
        let details = self.details.as_ref();
        details
            .filter(|details| actor.is_some_and(|actor| actor.may_act_for(details.organizer_id)))
            .ok_or(Rejection::Unknown)
    }

    /// Whether it is public, or else a draft; a no once it is cancelled or over.
    fn is_published(&self, details: &Details, now: Timestamp) -> Result<bool, Rejection> {
        match self.status {
            Status::Absent => Err(Rejection::Unknown),
            Status::Draft => Ok(false),
            // Its EndEvent is on the way.
            Status::Published if details.ends_at <= now => Err(Rejection::Ended),
            Status::Published => Ok(true),
            Status::Cancelled => Err(Rejection::Cancelled),
            Status::Ended => Err(Rejection::Ended),
        }
    }
}

fn valid(errors: Vec<FieldError>) -> Result<(), Rejection> {
    refused(errors, Rejection::Invalid)
}

/// A no for this reason, if there are such fields.
fn refused(errors: Vec<FieldError>, reason: fn(Vec<FieldError>) -> Rejection) -> Result<(), Rejection> {
    if errors.is_empty() { Ok(()) } else { Err(reason(errors)) }
}

fn changed(details: &Details, change: &ChangeEvent) -> Details {
    let text = |new: &Option<String>, old: &String| new.as_ref().unwrap_or(old).clone();
    Details {
        organizer_id: details.organizer_id,
        title: text(&change.title, &details.title),
        description: text(&change.description, &details.description),
        venue: text(&change.venue, &details.venue),
        starts_at: change.starts_at.unwrap_or(details.starts_at),
        ends_at: change.ends_at.unwrap_or(details.ends_at),
        time_zone: text(&change.time_zone, &details.time_zone),
        capacity: change.capacity.unwrap_or(details.capacity),
        registration_opens_at: change.registration_opens_at.or(details.registration_opens_at),
        registration_closes_at: change.registration_closes_at.unwrap_or(details.registration_closes_at),
        waiting_list: change.waiting_list.unwrap_or(details.waiting_list),
        staff: details.staff.clone(),
    }
}
