//! Writes the history of a run: calls of clients with their outcomes, and faults. Times are those of the world.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use chaos_checkers::history::{
    Answer, Call, Event, Fault, Function, Kind, Leader, Leaders, Nanos, Nemesis, Note, Observation,
};

use crate::clock::WorldTime;

/// The history that is being written. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Rc<State>);

struct State {
    time: WorldTime,
    events: RefCell<Vec<Event>>,
    processes: RefCell<u64>,
    /// Number of open calls.
    open: Cell<u64>,
}

/// A process of the history. It has at most one open call.
pub struct Process {
    recorder: Recorder,
    number: u64,
}

/// How a call ended.
pub enum Ended {
    /// It succeeded.
    Ok(Answer),
    /// It certainly had no effect.
    Failed(String),
    /// It may have an effect.
    Unknown(String),
}

impl Recorder {
    /// An empty history.
    pub fn new(time: WorldTime) -> Self {
        let (events, processes, open) = (RefCell::default(), RefCell::default(), Cell::default());
        Self(Rc::new(State { time, events, processes, open }))
    }

    /// A new process.
    pub fn process(&self) -> Process {
        Process { recorder: self.clone(), number: self.next_process() }
    }

    fn next_process(&self) -> u64 {
        let mut processes = self.0.processes.borrow_mut();
        *processes += 1;
        *processes
    }

    fn push(&self, kind: Kind) {
        let mut events = self.0.events.borrow_mut();
        let (index, time) = (events.len() as u64, Nanos(self.0.time.millis() * 1_000_000));
        events.push(Event { index, time, kind });
    }

    /// Records that a fault begins or ends.
    pub fn fault(&self, fault: Fault) {
        self.push(Kind::Nemesis(Nemesis::Fault(fault)));
    }

    /// Records that all faults are over.
    pub fn heal(&self) {
        self.push(Kind::Nemesis(Nemesis::Heal {}));
    }

    /// Records a new leader of a group.
    pub fn leader(&self, leader: Leader) {
        let leaders = Leaders { leaders: vec![leader] };
        self.push(Kind::Observation(Observation::Leaders(leaders)));
    }

    /// Records a remark.
    pub fn note(&self, text: &str) {
        let note = Note { text: text.to_owned() };
        self.push(Kind::Observation(Observation::Note(note)));
    }

    /// Number of calls that are under way.
    pub fn open_calls(&self) -> u64 {
        self.0.open.get()
    }

    /// Number of events so far.
    pub fn len(&self) -> usize {
        self.0.events.borrow().len()
    }

    /// Whether there is no event yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all events.
    pub fn take(&self) -> Vec<Event> {
        self.0.events.take()
    }
}

impl Process {
    /// The number of the process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Records the begin of a call.
    pub fn invoke(&self, call: impl Into<Call>) -> Function {
        let call = call.into();
        let function = call.function();
        self.recorder.0.open.set(self.recorder.open_calls() + 1);
        self.recorder.push(Kind::Invoke { process: self.number, gateway: None, call });
        function
    }

    /// Records the end of the open call. After an unknown outcome the process goes on under another number, because
    /// its call may still take effect.
    pub fn end(&mut self, function: Function, ended: Ended) {
        let (process, gateway) = (self.number, None);
        self.recorder.0.open.set(self.recorder.open_calls() - 1);
        match ended {
            Ended::Ok(answer) => self.recorder.push(Kind::Ok { process, gateway, answer }),
            Ended::Failed(error) => {
                self.recorder.push(Kind::Fail { process, gateway, function, error });
            }
            Ended::Unknown(error) => {
                self.recorder.push(Kind::Info { process, gateway, function, error });
                self.number = self.recorder.next_process();
            }
        }
    }
}
