//! Balancing: moves of leaders and replicas that only even out the load.
//!
//! They happen unless an operator has paused them. While they are paused, an operator can ask for one rebalance.
//! Moves that keep records safe are never paused.

use crate::apply::Change;
use crate::model::Catalog;

impl Catalog {
    pub(super) fn set_balancing(&mut self, paused: bool) -> Change {
        let rebalance = self.rebalance.filter(|_| !paused);
        if (self.balancing_paused, self.rebalance) == (paused, rebalance) {
            return Change::AlreadySo;
        }
        (self.balancing_paused, self.rebalance) = (paused, rebalance);
        Change::Made
    }

    /// A rebalance that is under way begins again, so the controller retries moves that it could not do.
    pub(super) fn begin_rebalance(&mut self, log_index: u64) -> Change {
        self.rebalance = Some(log_index);
        Change::Made
    }

    pub(super) fn finish_rebalance(&mut self, rebalance: u64) -> Change {
        // The controller may have finished an earlier rebalance. That does not end the current one.
        match self.rebalance.take_if(|under_way| *under_way == rebalance) {
            Some(_) => Change::Made,
            None => Change::AlreadySo,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::groups::GroupCommand;
    use crate::outcome::Outcome;
    use crate::script::Script;

    fn pause(script: &mut Script, paused: bool) -> bool {
        script.done(GroupCommand::SetBalancing { paused });
        script.catalog.balances()
    }

    #[test]
    fn balancing_is_on_until_it_is_paused() {
        let mut script = Script::with_nodes(1, &["a"]);
        assert!(script.catalog.balances());
        assert!(!pause(&mut script, true));
        let version = script.catalog.version;
        assert!(!pause(&mut script, true));
        assert_eq!(script.catalog.version, version, "that changed nothing");
        assert!(pause(&mut script, false));
    }

    #[test]
    fn a_rebalance_goes_on_while_balancing_is_paused_and_then_ends() {
        let mut script = Script::with_nodes(1, &["a"]);
        pause(&mut script, true);
        script.done(GroupCommand::Rebalance);
        let first = script.catalog.rebalance.unwrap();
        assert!(script.catalog.balances());
        script.done(GroupCommand::Rebalance);
        let second = script.catalog.rebalance.unwrap();
        assert!(second > first);
        let late = script.run(GroupCommand::FinishRebalance { rebalance: first });
        assert_eq!(late, Outcome::Done { version: second });
        assert!(script.catalog.balances(), "the end of the first does not end the second");
        script.done(GroupCommand::FinishRebalance { rebalance: second });
        assert!(!script.catalog.balances());
    }

    #[test]
    fn pausing_ends_a_rebalance() {
        let mut script = Script::with_nodes(1, &["a"]);
        script.done(GroupCommand::Rebalance);
        assert!(!pause(&mut script, true));
        script.done(GroupCommand::Rebalance);
        assert!(!pause(&mut script, true), "also a rebalance that began during the pause");
        assert_eq!(script.catalog.rebalance, None);
    }
}
