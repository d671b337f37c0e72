//! Tests accounts, events and seats together, as pure functions: random commands, with reactions that arrive late and in
//! any order, are compared with a model that is simple enough to verify by reading.

mod expected;
mod positions;
mod steps;
mod world;

use proptest::prelude::*;

use self::expected::Model;
use self::steps::{Step, any_step};
use self::world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_three_domains_behave_like_the_model(steps in prop::collection::vec(any_step(), 1..120)) {
        let (mut world, mut model) = (World::default(), Model::default());
        for step in steps {
            prop_assert_eq!(world.take(step), model.take(step), "acceptance of {:?}", step);
            prop_assert_eq!(world.open_accounts(), model.open_accounts(), "{:?}", step);
            prop_assert_eq!(world.published(), model.published(), "{:?}", step);
            prop_assert_eq!(world.positions(), model.positions(), "{:?}", step);
            prop_assert_eq!(world.in_flight(), model.in_flight(), "{:?}", step);
        }
        while world.in_flight() > 0 {
            let step = Step::Deliver { nth: 0 };
            prop_assert_eq!(world.take(step), model.take(step));
        }
        prop_assert_eq!(world.positions(), model.positions());
        model.check_final_state();
    }
}
