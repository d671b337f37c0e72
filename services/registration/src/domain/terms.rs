//! An event's terms, as domain events say them.

use contracts::{RegistrationEvent, RosterChanged, RosterOpened, Terms};

pub(super) fn opened(event_sequence: i64, terms: &Terms) -> RegistrationEvent {
    let Terms {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        registration_opens_at,
        staff,
    } = terms.clone();
    RosterOpened {
        event_sequence,
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        registration_opens_at,
        staff,
    }
    .into()
}

pub(super) fn changed(event_sequence: i64, terms: &Terms) -> RegistrationEvent {
    let Terms {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        registration_opens_at,
        staff,
    } = terms.clone();
    RosterChanged {
        event_sequence,
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        registration_opens_at,
        staff,
    }
    .into()
}

pub(super) fn of_opened(opened: &RosterOpened) -> Terms {
    let RosterOpened {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        registration_opens_at,
        staff,
        ..
    } = opened.clone();
    Terms {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        registration_opens_at,
        staff,
    }
}

pub(super) fn of_changed(changed: &RosterChanged) -> Terms {
    let RosterChanged {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        registration_opens_at,
        staff,
        ..
    } = changed.clone();
    Terms {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        registration_opens_at,
        staff,
    }
}
