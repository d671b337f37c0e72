//! Accounts, events and seats together, as pure functions: random commands, reactions that arrive late and in any order,
//! and a model that is simple enough to be believed.

mod expected;
mod places;
mod steps;
mod world;

use proptest::prelude::*;

use self::expected::Model;
use self::steps::{Step, any_step};
use self::world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn seats_go_to_whom_they_belong_whatever_happens(steps in prop::collection::vec(any_step(), 1..120)) {
        let (mut world, mut model) = (World::default(), Model::default());
        for step in steps {
            prop_assert_eq!(world.take(step), model.take(step), "whether it is accepted: {:?}", step);
            prop_assert_eq!(world.open_accounts(), model.open_accounts(), "{:?}", step);
            prop_assert_eq!(world.published(), model.published(), "{:?}", step);
            prop_assert_eq!(world.places(), model.places(), "{:?}", step);
            prop_assert_eq!(world.under_way(), model.under_way(), "{:?}", step);
        }
        while world.under_way() > 0 {
            let step = Step::Deliver { nth: 0 };
            prop_assert_eq!(world.take(step), model.take(step));
        }
        prop_assert_eq!(world.places(), model.places());
        model.is_at_rest();
    }
}
