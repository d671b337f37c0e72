//! All scenarios.

mod asynchronous;
mod beside;
mod commands;
mod draining;
mod end_to_end;
mod lanes;
mod larger;
mod left_out;
mod planted;
mod rules;

use crate::scenario::Scenario;

/// The sets of scenarios.
const SETS: &[&[Scenario]] = &[
    rules::RULES,
    end_to_end::END_TO_END_RULES,
    left_out::LEFT_OUT,
    planted::PLANTED,
    beside::BESIDE,
    lanes::LANES,
    draining::DRAINING_IN_STEPS,
    asynchronous::ASYNCHRONOUS_COMMITS,
    larger::LARGER,
];

pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    SETS.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::explorer::Verdict;
    use crate::scenario::Size;

    /// Explores the small scenarios of a set, and compares their results with the expected ones.
    fn check(set: &[Scenario]) {
        for scenario in set.iter().filter(|scenario| scenario.size == Size::Small) {
            let found = scenario.explore();
            assert!(
                scenario.is_expected(&found),
                "{} {}: expected {:?}, found {found:?}",
                scenario.id,
                scenario.title,
                scenario.expected
            );
        }
    }

    fn has_counterexample(scenario: &Scenario) -> bool {
        matches!(scenario.expected.verdict, Verdict::Violates(_) | Verdict::Stuck(_))
    }

    #[test]
    fn the_rules_have_no_counterexample() {
        check(rules::RULES);
        assert!(!rules::RULES.iter().any(has_counterexample));
    }

    #[test]
    fn the_rules_have_no_counterexample_end_to_end() {
        check(end_to_end::END_TO_END_RULES);
        assert!(!end_to_end::END_TO_END_RULES.iter().any(has_counterexample));
    }

    #[test]
    fn a_rule_that_is_left_out_has_a_counterexample() {
        check(left_out::LEFT_OUT);
        // The others state in their titles that they are safe.
        let safe = left_out::LEFT_OUT
            .iter()
            .filter(|scenario| !has_counterexample(scenario));
        assert_eq!(
            safe.map(|scenario| scenario.id).collect::<Vec<_>>(),
            ["B10", "B11", "B14"]
        );
    }

    #[test]
    fn every_planted_defect_has_a_counterexample() {
        check(planted::PLANTED);
        assert!(planted::PLANTED.iter().all(has_counterexample));
    }

    #[test]
    fn small_models_have_the_expected_results() {
        check(beside::BESIDE);
    }

    #[test]
    fn lanes_have_the_expected_results() {
        check(lanes::LANES);
    }

    #[test]
    fn draining_in_steps_has_the_expected_results() {
        check(draining::DRAINING_IN_STEPS);
    }

    #[test]
    fn asynchronous_commits_have_the_expected_results() {
        check(asynchronous::ASYNCHRONOUS_COMMITS);
    }

    #[test]
    fn larger_bounds_have_the_expected_results() {
        check(larger::LARGER);
    }

    #[test]
    fn the_ids_of_scenarios_are_unique() {
        let mut ids = HashSet::new();
        assert!(all().all(|scenario| ids.insert(scenario.id)));
    }
}
