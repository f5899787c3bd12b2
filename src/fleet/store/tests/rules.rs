//! Rules whose promise one course of events shows: without the rule its test fails.

use super::super::rules::{Rule, take_out};
use super::{clocks, counts, outage};

#[test]
#[should_panic(expected = "two clocks of three stand")]
fn without_the_median_of_clocks_a_leader_whose_clock_goes_back_turns_the_fleet_back() {
    take_out(Rule::Median);
    clocks::a_leader_whose_clock_goes_back_alone_makes_the_fleet_forget_nothing();
}

#[test]
#[should_panic(expected = "after ")]
fn without_holding_after_an_outage_counts_are_lost() {
    take_out(Rule::Hold);
    outage::an_outage_of_any_length_loses_no_counts();
}

#[test]
#[should_panic(expected = "only the leader has it")]
fn without_the_majority_the_leaders_configuration_is_in_force() {
    take_out(Rule::Majority);
    counts::a_configuration_that_most_members_have_counts();
}

#[test]
#[should_panic(expected = "30 members need more evidence than one")]
fn without_evidence_times_the_members_each_member_has_a_false_alarm_of_its_own() {
    take_out(Rule::TimesMembers);
    outage::a_member_alone_takes_a_failing_candidate_back_and_needs_more_evidence_than_the_fleet();
}
