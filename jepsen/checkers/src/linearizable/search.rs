//! The search of Wing and Gong with the memo of Lowe.
//!
//! The search takes calls one after the other, such that no call is taken before a call that ended before it began.
//! It goes back when no call fits. A pair of (set of taken calls, state) is never visited twice. An observation
//! that fits and does not change the state is taken at once and for good.
//! Calls with an unknown outcome may be taken at any time after they began, or never.

use std::collections::HashSet;

use super::Model;

/// A call with the indexes of its events.
#[derive(Clone, Debug)]
pub(crate) struct Timed<C> {
    /// The index of the invocation.
    pub(crate) begin: u64,
    /// The index of the result. `None` if the outcome is unknown.
    pub(crate) end: Option<u64>,
    pub(crate) call: C,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    Linearizable,
    /// The search visited as many states as it may.
    GaveUp {
        states: usize,
    },
    NotLinearizable {
        /// The calls of which one had to be the next when most calls were explained: begin and end.
        stuck: Vec<(u64, u64)>,
        /// How many calls were explained then.
        explained: usize,
    },
}

/// Which calls are taken. Certain calls below `low` are all taken.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Taken {
    low: usize,
    /// Bits of the certain calls from `low` rounded down to a word, without zero words at the end.
    window: Vec<u64>,
    /// Bits of the calls with an unknown outcome.
    maybe: Vec<u64>,
}

/// A call, as an index into the certain or into the uncertain calls.
#[derive(Clone, Copy)]
enum Choice {
    Certain(usize),
    Maybe(usize),
}

/// A step that can be taken back.
struct Step<S> {
    taken: Taken,
    state: S,
    /// The place of the choice among the candidates, or `None` if there is no other choice to try.
    place: Option<usize>,
}

/// The next call, with what follows from it.
struct Move<S> {
    /// The place of the call among the candidates, or `None` if no other call needs to be tried.
    place: Option<usize>,
    taken: Taken,
    state: S,
}

struct Searcher<'c, M: Model> {
    model: &'c M,
    certain: Vec<(u64, u64, &'c M::Call)>,
    maybe: Vec<(u64, &'c M::Call)>,
}

/// Searches an order of the calls. `limit` bounds the number of states.
pub(super) fn search<M: Model>(model: &M, calls: &[Timed<M::Call>], limit: usize) -> Search {
    let mut certain: Vec<(u64, u64, &M::Call)> =
        calls.iter().filter_map(|at| Some((at.begin, at.end?, &at.call))).collect();
    let mut maybe: Vec<(u64, &M::Call)> =
        calls.iter().filter(|at| at.end.is_none()).map(|at| (at.begin, &at.call)).collect();
    certain.sort_by_key(|call| call.0);
    maybe.sort_by_key(|call| call.0);
    Searcher { model, certain, maybe }.run(limit)
}

impl<M: Model> Searcher<'_, M> {
    fn run(&self, limit: usize) -> Search {
        let words = self.maybe.len().div_ceil(64);
        let mut taken = Taken { low: 0, window: Vec::new(), maybe: vec![0; words] };
        let mut state = self.model.start();
        let mut seen: HashSet<(Taken, M::State)> = HashSet::new();
        let mut steps: Vec<Step<M::State>> = Vec::new();
        let mut first = 0;
        let (mut explained, mut stuck) = (0, Vec::new());
        loop {
            if taken.low == self.certain.len() {
                return Search::Linearizable;
            }
            if seen.len() >= limit {
                return Search::GaveUp { states: seen.len() };
            }
            let candidates = self.candidates(&taken);
            let next = self.advance(&taken, &state, &candidates, first, &mut seen);
            if let Some(Move { place, taken: next_taken, state: next_state }) = next {
                let before = std::mem::replace(&mut taken, next_taken);
                let before_state = std::mem::replace(&mut state, next_state);
                steps.push(Step { taken: before, state: before_state, place });
                first = 0;
                continue;
            }
            let count = self.count(&taken);
            if first == 0 && (count > explained || stuck.is_empty()) {
                explained = count;
                stuck = self.ends(&candidates);
            }
            let Some((step, place)) = take_back(&mut steps) else {
                return Search::NotLinearizable { stuck, explained };
            };
            (taken, state, first) = (step.taken, step.state, place + 1);
        }
    }

    /// The calls that may be the next: no call that is not taken ended before they began.
    fn candidates(&self, taken: &Taken) -> Vec<Choice> {
        let mut first_end = u64::MAX;
        let mut candidates = Vec::new();
        for (place, (begin, end, _)) in self.certain.iter().enumerate().skip(taken.low) {
            if *begin > first_end {
                break;
            }
            if !taken.has(place) {
                first_end = first_end.min(*end);
                candidates.push(Choice::Certain(place));
            }
        }
        candidates.retain(|choice| match choice {
            Choice::Certain(place) => self.certain[*place].0 < first_end,
            Choice::Maybe(_) => true,
        });
        let begun = self.maybe.partition_point(|(begin, _)| *begin < first_end);
        candidates.extend((0..begun).filter(|place| !taken.has_maybe(*place)).map(Choice::Maybe));
        candidates
    }

    /// Takes an observation that changes nothing, or else the first call from `first` on that leads to a new pair.
    fn advance(
        &self,
        taken: &Taken,
        state: &M::State,
        candidates: &[Choice],
        first: usize,
        seen: &mut HashSet<(Taken, M::State)>,
    ) -> Option<Move<M::State>> {
        if first == 0 {
            let free = candidates.iter().find(|choice| match choice {
                Choice::Certain(place) => {
                    let call = self.certain[*place].2;
                    self.model.is_observation(call)
                        && self.model.step(state, call).as_ref() == Some(state)
                }
                Choice::Maybe(_) => false,
            });
            if let Some(choice) = free {
                let taken = self.take(taken, *choice);
                return Some(Move { place: None, taken, state: state.clone() });
            }
        }
        for (place, choice) in candidates.iter().enumerate().skip(first) {
            let call = match choice {
                Choice::Certain(place) => self.certain[*place].2,
                Choice::Maybe(place) => self.maybe[*place].1,
            };
            let Some(next) = self.model.step(state, call) else { continue };
            if matches!(choice, Choice::Maybe(_)) && next == *state {
                continue;
            }
            let pair = (self.take(taken, *choice), next);
            if seen.insert(pair.clone()) {
                let (taken, state) = pair;
                return Some(Move { place: Some(place), taken, state });
            }
        }
        None
    }

    fn take(&self, taken: &Taken, choice: Choice) -> Taken {
        let mut next = taken.clone();
        match choice {
            Choice::Maybe(place) => next.maybe[place / 64] |= 1 << (place % 64),
            Choice::Certain(place) => next.add(place),
        }
        next
    }

    fn count(&self, taken: &Taken) -> usize {
        let bits =
            |words: &[u64]| words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        let whole = taken.low / 64 * 64;
        whole + bits(&taken.window) + bits(&taken.maybe)
    }

    fn ends(&self, candidates: &[Choice]) -> Vec<(u64, u64)> {
        let certain = candidates.iter().filter_map(|choice| match choice {
            Choice::Certain(place) => Some((self.certain[*place].0, self.certain[*place].1)),
            Choice::Maybe(_) => None,
        });
        certain.collect()
    }
}

/// Goes back to the last step that had another choice.
fn take_back<S>(steps: &mut Vec<Step<S>>) -> Option<(Step<S>, usize)> {
    while let Some(step) = steps.pop() {
        if let Some(place) = step.place {
            return Some((step, place));
        }
    }
    None
}

impl Taken {
    fn base(&self) -> usize {
        self.low / 64
    }

    fn has(&self, place: usize) -> bool {
        place < self.low
            || (place / 64).checked_sub(self.base()).is_some_and(|word| {
                self.window.get(word).is_some_and(|bits| bits >> (place % 64) & 1 == 1)
            })
    }

    fn has_maybe(&self, place: usize) -> bool {
        self.maybe[place / 64] >> (place % 64) & 1 == 1
    }

    /// Takes a certain call, and moves `low` over all calls that are taken.
    fn add(&mut self, place: usize) {
        let word = place / 64 - self.base();
        if self.window.len() <= word {
            self.window.resize(word + 1, 0);
        }
        self.window[word] |= 1 << (place % 64);
        let base = self.base();
        let mut low = self.low;
        while self.window.get(low / 64 - base).is_some_and(|bits| bits >> (low % 64) & 1 == 1) {
            low += 1;
        }
        self.low = low;
        let passed = (low / 64 - base).min(self.window.len());
        self.window.drain(..passed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::register::{Register, RegisterCall};
    use super::*;

    fn write(begin: u64, end: Option<u64>, value: &'static str) -> Timed<RegisterCall<'static>> {
        Timed { begin, end, call: RegisterCall::Write(Some(value)) }
    }

    fn read(begin: u64, end: u64, value: &'static str) -> Timed<RegisterCall<'static>> {
        Timed { begin, end: Some(end), call: RegisterCall::Read(Some(value)) }
    }

    fn is_linearizable(calls: &[Timed<RegisterCall<'static>>]) -> bool {
        search(&Register::new(), calls, 100_000) == Search::Linearizable
    }

    #[test]
    fn concurrent_calls_take_effect_in_either_order() {
        let writes = [write(0, Some(3), "a"), write(1, Some(2), "b")];
        for last in ["a", "b"] {
            let calls = [&writes[..], &[read(4, 5, last)]].concat();
            assert!(is_linearizable(&calls), "{last} is not last");
        }
    }

    #[test]
    fn a_read_of_an_overwritten_value_is_refused() {
        let calls = [write(0, Some(1), "a"), write(2, Some(3), "b"), read(4, 5, "a")];
        let expected = Search::NotLinearizable { stuck: vec![(4, 5)], explained: 2 };
        assert_eq!(search(&Register::new(), &calls, 100_000), expected);
    }

    #[test]
    fn two_reads_cannot_see_two_writes_in_two_orders() {
        let writes = [write(0, Some(9), "a"), write(1, Some(8), "b")];
        let reads = [read(10, 11, "a"), read(12, 13, "b")];
        assert!(!is_linearizable(&[&writes[..], &reads].concat()));
    }

    #[test]
    fn an_unknown_write_takes_effect_later_or_never() {
        let calls = [write(0, None, "x"), write(1, Some(2), "a"), read(3, 4, "a")];
        assert!(is_linearizable(&calls));
        assert!(is_linearizable(&[&calls[..], &[read(5, 6, "x")]].concat()));
        assert!(!is_linearizable(&[&calls[..], &[read(5, 6, "x"), read(7, 8, "a")]].concat()));
    }

    #[test]
    fn an_unknown_write_takes_no_effect_before_it_begins() {
        let calls = [write(0, Some(1), "a"), read(2, 3, "x"), write(4, None, "x")];
        assert!(!is_linearizable(&calls));
    }

    #[test]
    fn many_sequential_calls_pass_the_end_of_a_word() {
        let mut calls = Vec::new();
        for turn in 0..500 {
            let value = if turn % 2 == 0 { "a" } else { "b" };
            calls.push(write(turn * 4, Some(turn * 4 + 1), value));
            calls.push(read(turn * 4 + 2, turn * 4 + 3, value));
        }
        assert!(is_linearizable(&calls));
        calls.push(read(2000, 2001, "a"));
        assert!(!is_linearizable(&calls));
    }

    #[test]
    fn a_search_that_takes_too_long_gives_up() {
        let mut calls: Vec<_> = (0..30).map(|turn| write(turn, Some(100 + turn), "a")).collect();
        calls[3].call = RegisterCall::Write(Some("b"));
        calls.push(read(200, 201, "c"));
        assert!(matches!(search(&Register::new(), &calls, 10), Search::GaveUp { .. }));
    }

    /// All orders of a few calls, as a second opinion.
    fn has_order(calls: &[Timed<RegisterCall<'static>>]) -> bool {
        fn go(
            left: &mut Vec<usize>,
            state: &Option<&'static str>,
            calls: &[Timed<RegisterCall<'static>>],
        ) -> bool {
            if left.iter().all(|place| calls[*place].end.is_none()) {
                return true;
            }
            let first_end =
                left.iter().filter_map(|place| calls[*place].end).min().unwrap_or(u64::MAX);
            for at in 0..left.len() {
                let place = left[at];
                if calls[place].begin > first_end {
                    continue;
                }
                if let Some(next) = Register::new().step(state, &calls[place].call) {
                    left.remove(at);
                    let found = go(left, &next, calls);
                    left.insert(at, place);
                    if found {
                        return true;
                    }
                }
            }
            false
        }
        go(&mut (0..calls.len()).collect(), &None, calls)
    }

    mod against_all_orders {
        use proptest::prelude::*;

        use super::*;

        /// Up to seven calls of three processes with overlapping times.
        fn histories() -> impl Strategy<Value = Vec<Timed<RegisterCall<'static>>>> {
            let call = (0_u64..20, 1_u64..12, 0_u8..6, any::<bool>());
            proptest::collection::vec(call, 1..7).prop_map(|calls| {
                let timed =
                    calls.into_iter().enumerate().map(|(place, (begin, length, what, lost))| {
                        let place = place as u64;
                        let (begin, end) = (begin * 8 + place, (begin + length) * 8 + place);
                        let value = ["a", "b", "c"][what as usize % 3];
                        if what < 3 {
                            write(begin, (!lost).then_some(end), value)
                        } else {
                            read(begin, end, value)
                        }
                    });
                timed.collect()
            })
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(4000))]
            #[test]
            fn the_search_finds_the_same_as_all_orders(calls in histories()) {
                prop_assert_eq!(is_linearizable(&calls), has_order(&calls));
            }
        }
    }
}
