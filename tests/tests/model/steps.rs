use proptest::prelude::*;

/// Small numbers, so commands often conflict.
const USERS: u8 = 6;
const NAMES: u8 = 5;
const EVENTS: u8 = 2;

/// A command of a user, or the delivery of a reaction. Users, names and events are numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    SignUp {
        user: u8,
        name: u8,
    },
    ChangeEmail {
        user: u8,
        name: u8,
    },
    CloseAccount {
        user: u8,
    },
    Erase {
        user: u8,
    },
    Draft {
        event: u8,
        capacity: i32,
        waiting_list: bool,
    },
    Resize {
        event: u8,
        capacity: i32,
    },
    Publish {
        event: u8,
    },
    Cancel {
        event: u8,
    },
    /// The event ends.
    End {
        event: u8,
    },
    Register {
        event: u8,
        user: u8,
    },
    /// The nth registration, modulo their number, is cancelled by its attendee.
    Leave {
        nth: usize,
    },
    /// The nth reaction in flight, modulo their number, is delivered.
    Deliver {
        nth: usize,
    },
}

pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    let (user, name, event, capacity) = (0..USERS, 0..NAMES, 0..EVENTS, 1..4_i32);
    prop_oneof![
        4 => (user.clone(), name.clone()).prop_map(|(user, name)| Step::SignUp { user, name }),
        2 => (user.clone(), name).prop_map(|(user, name)| Step::ChangeEmail { user, name }),
        1 => user.clone().prop_map(|user| Step::CloseAccount { user }),
        1 => user.clone().prop_map(|user| Step::Erase { user }),
        2 => (event.clone(), capacity.clone(), prop::bool::weighted(0.8))
            .prop_map(|(event, capacity, waiting_list)| Step::Draft { event, capacity, waiting_list }),
        3 => (event.clone(), capacity).prop_map(|(event, capacity)| Step::Resize { event, capacity }),
        4 => event.clone().prop_map(|event| Step::Publish { event }),
        1 => event.clone().prop_map(|event| Step::Cancel { event }),
        1 => event.clone().prop_map(|event| Step::End { event }),
        16 => (event, user).prop_map(|(event, user)| Step::Register { event, user }),
        8 => any::<prop::sample::Index>().prop_map(|nth| Step::Leave { nth: nth.index(1_000) }),
        16 => any::<prop::sample::Index>().prop_map(|nth| Step::Deliver { nth: nth.index(1_000) }),
    ]
}
