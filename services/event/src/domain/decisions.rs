//! The decision for each command.

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
        reject_invalid(form::errors(&details, Some(now)))?;
        Ok(vec![EventCreated { details }.into()])
    }

    /// Changes the event.
    ///
    /// A draft may change to anything that could be drafted now. The times of a published event change only by
    /// [`reschedule`](Self::reschedule). After the start, only title, description and venue can be corrected.
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
            reject_if_any(form::started_errors(before, &details), Rejection::Started)?;
        } else if published {
            reject_if_any(form::reschedule_errors(before, &details), Rejection::UseReschedule)?;
        }
        reject_invalid(form::errors(&details, (!published).then_some(now)))?;
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

    /// Moves the event to another time.
    ///
    /// Unless the command sets them, the closing of registration keeps its distance to the start, and so does the
    /// opening if it lies ahead.
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
        reject_invalid(form::errors(&details, Some(now)))?;
        let (previous_starts_at, previous_ends_at) = (before.starts_at, before.ends_at);
        // Without a new time, the attendees need no notification.
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
        // Staff is a set, so it is stored in sorted order.
        let mut staff = name.staff.clone();
        staff.sort_unstable();
        reject_invalid(form::staff_errors(&staff, before.organizer_id))?;
        if staff == before.staff {
            return Ok(Vec::new());
        }
        let details = Details {
            staff,
            ..before.clone()
        };
        Ok(vec![StaffNamed { details, published }.into()])
    }

    /// Sends an announcement to the attendees. This is possible after the end too, because registrations are kept and an
    /// organizer may want to thank the attendees.
    pub(super) fn announce(&self, actor: Option<&Actor>, announce: &Announce) -> Result<Vec<EventEvent>, Rejection> {
        let organizer_id = self.details_for(actor)?.organizer_id;
        match self.status {
            Status::Absent => Err(Rejection::Unknown),
            Status::Draft => Err(Rejection::NotPublished),
            Status::Cancelled => Err(Rejection::Cancelled),
            Status::Published | Status::Ended => {
                reject_invalid(form::announcement_errors(announce))?;
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
        reject_invalid(form::reason_errors(&cancel.reason))?;
        let reason = cancel.reason.clone();
        Ok(vec![
            EventCancelled {
                reason,
                cancelled_at: now,
            }
            .into(),
        ])
    }

    /// Ends the event.
    ///
    /// An `EndEvent` is sent whenever the end of the event is set, and is delivered at that end. Its time is the end for
    /// which it was sent, so it has no effect on an event that now ends later.
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

    /// Returns the details if the actor is the organizer, an admin or a service.
    ///
    /// # Errors
    /// Returns [`Rejection::Unknown`] for all others so that they cannot find out whether the event exists.
    fn details_for(&self, actor: Option<&Actor>) -> Result<&Details, Rejection> {
        let details = self.details.as_ref();
        details
            .filter(|details| actor.is_some_and(|actor| actor.may_act_for(details.organizer_id)))
            .ok_or(Rejection::Unknown)
    }

    /// Returns `true` if the event is published, and `false` if it is a draft.
    ///
    /// # Errors
    /// Returns a rejection if the event is cancelled or has ended.
    fn is_published(&self, details: &Details, now: Timestamp) -> Result<bool, Rejection> {
        match self.status {
            Status::Absent => Err(Rejection::Unknown),
            Status::Draft => Ok(false),
            // Its `EndEvent` is in flight.
            Status::Published if details.ends_at <= now => Err(Rejection::Ended),
            Status::Published => Ok(true),
            Status::Cancelled => Err(Rejection::Cancelled),
            Status::Ended => Err(Rejection::Ended),
        }
    }
}

fn reject_invalid(errors: Vec<FieldError>) -> Result<(), Rejection> {
    reject_if_any(errors, Rejection::Invalid)
}

/// Rejects the command with this reason if there are invalid fields.
fn reject_if_any(errors: Vec<FieldError>, reason: fn(Vec<FieldError>) -> Rejection) -> Result<(), Rejection> {
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
