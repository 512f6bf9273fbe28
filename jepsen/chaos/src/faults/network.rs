//! Faults of the network between nodes, and between clients and nodes.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chaos_lab::{Lab, NodeNumber, Rule};
use rand::Rng;

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;

/// The form of a network fault.
#[derive(Clone, Copy)]
enum Form {
    /// One node is cut off from all others.
    One,
    /// A minority is cut off from the majority.
    Halves,
    /// Two halves that see each other only through one node.
    Bridge,
    /// A node still hears the others, and they do not hear it.
    OneWay,
    /// A node is cut off and joined again, several times a second.
    Flapping,
    /// A node is cut off from the clients.
    Clients,
    /// Every link between nodes is delayed.
    Delay,
    /// Every link loses packets.
    Loss,
    /// Packets overtake each other, and some arrive twice.
    Reorder,
    /// Bits of packets are flipped. TCP detects it and sends the packet again.
    Corrupt,
    /// Every link of one node is slow.
    SlowLink,
}

/// The kinds of this family.
pub(crate) fn kinds() -> Vec<FaultKind> {
    let kind = |name, about, cost, make| FaultKind {
        name,
        about,
        cost,
        least_nodes: 2,
        lasts: seconds(2, 8),
        in_default: true,
        needs_root: false,
        make,
    };
    use Cost::{Disturbs, Minority};
    vec![
        kind("partition-one", "one node is cut off from the others", Minority, || form(Form::One)),
        kind("partition-halves", "a minority is cut off from the majority", Minority, || {
            form(Form::Halves)
        }),
        FaultKind {
            least_nodes: 5,
            ..kind(
                "partition-bridge",
                "two halves see each other only through one node",
                Disturbs,
                || form(Form::Bridge),
            )
        },
        kind(
            "partition-one-way",
            "a node hears the others, and they do not hear it",
            Minority,
            || form(Form::OneWay),
        ),
        kind(
            "partition-flapping",
            "a node is cut off and joined several times a second",
            Minority,
            || form(Form::Flapping),
        ),
        kind("cut-clients", "clients do not reach a node, and nodes do", Disturbs, || {
            form(Form::Clients)
        }),
        kind("delay", "packets between nodes are delayed by up to 200 ms", Disturbs, || {
            form(Form::Delay)
        }),
        kind("loss", "links between nodes lose up to a fifth of all packets", Disturbs, || {
            form(Form::Loss)
        })
        .needs_root(),
        kind("reorder", "packets overtake each other, and some arrive twice", Disturbs, || {
            form(Form::Reorder)
        })
        .needs_root(),
        kind("corrupt", "bits of packets are flipped", Disturbs, || form(Form::Corrupt))
            .needs_root(),
        kind("slow-link", "the links of a node carry 2 Mbit/s", Disturbs, || form(Form::SlowLink)),
    ]
}

fn form(form: Form) -> Box<dyn Fault> {
    Box::new(Network { form, cut: Vec::new(), touched: 0 })
}

const CUT: Rule = Rule {
    cut: true,
    loss: 0.0,
    delay: Duration::ZERO,
    jitter: Duration::ZERO,
    duplicate: 0.0,
    corrupt: 0.0,
    bits_per_second: 0,
};

struct Network {
    form: Form,
    /// Nodes that others count as away.
    cut: Vec<NodeNumber>,
    /// Packets that rules had touched before.
    touched: u64,
}

#[async_trait(?Send)]
impl Fault for Network {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        self.touched = field.lab.links().touched();
        let begun = self.begin(field).await?;
        for node in &self.cut {
            field.goes_away(*node);
        }
        Ok(begun)
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        field.heal_network();
        let bit = field.lab.links().touched() > self.touched;
        for node in &self.cut {
            field.comes_back(*node).await?;
        }
        Ok(Some(bit))
    }
}

impl Network {
    async fn begin(&mut self, field: &mut Field) -> Result<Begun> {
        let members = field.members.clone();
        match self.form {
            Form::One => {
                let node = field.pick_leader().await?;
                self.cut = vec![node];
                cut_apart(field, &[node], &members);
                Ok(Begun::at([node], "both directions"))
            }
            Form::Halves => {
                let minority = field.pick_some(members.len() - field.majority());
                self.cut.clone_from(&minority);
                cut_apart(field, &minority, &members);
                Ok(Begun::at(minority, "the minority"))
            }
            Form::Bridge => Ok(build_bridge(field)),
            Form::OneWay => {
                let node = field.pick_leader().await?;
                self.cut = vec![node];
                others(&members, node).for_each(|other| field.one_way(node, other, CUT));
                Ok(Begun::at([node], "nothing from it arrives"))
            }
            Form::Flapping => {
                let node = field.pick()?;
                self.cut = vec![node];
                field.flap(node);
                Ok(Begun::at([node], "cut and joined"))
            }
            Form::Clients => {
                let node = field.pick()?;
                for host in field.lab.hosts_of_clients() {
                    field.lab.links().set_both(host, Lab::host_of_node(node), CUT);
                }
                Ok(Begun::at([node], "clients do not reach it"))
            }
            Form::Delay | Form::Loss | Form::Reorder | Form::Corrupt => Ok(self.disturb_all(field)),
            Form::SlowLink => {
                let node = field.pick_leader().await?;
                let rule = Rule { bits_per_second: 2_000_000, ..Rule::default() };
                others(&members, node).for_each(|other| field.between(node, other, rule));
                Ok(Begun::at([node], "2 Mbit/s"))
            }
        }
    }

    /// Sets one rule for every pair of nodes.
    fn disturb_all(&self, field: &mut Field) -> Begun {
        let random = &mut field.random;
        let (rule, detail) = match self.form {
            Form::Loss => {
                let loss = random.random_range(0.02..0.2);
                (Rule { loss, ..Rule::default() }, format!("{:.0} % lost", loss * 100.0))
            }
            Form::Reorder => {
                let jitter = Duration::from_millis(random.random_range(5..60));
                let rule = Rule { jitter, duplicate: 0.1, ..Rule::default() };
                (rule, format!("0 to {jitter:?} late, 10 % twice"))
            }
            Form::Corrupt => {
                (Rule { corrupt: 0.02, ..Rule::default() }, "2 % with a wrong bit".into())
            }
            Form::Delay
            | Form::One
            | Form::Halves
            | Form::Bridge
            | Form::OneWay
            | Form::Flapping
            | Form::Clients
            | Form::SlowLink => {
                let delay = Duration::from_millis(random.random_range(10..200));
                (Rule { delay, jitter: delay / 4, ..Rule::default() }, format!("{delay:?} late"))
            }
        };
        let members = field.members.clone();
        for one in &members {
            others(&members, *one).for_each(|other| field.one_way(*one, other, rule));
        }
        Begun::at(members, detail)
    }
}

fn others(members: &[NodeNumber], node: NodeNumber) -> impl Iterator<Item = NodeNumber> {
    members.iter().copied().filter(move |other| *other != node)
}

/// Cuts `some` off from all members that are not among them.
fn cut_apart(field: &Field, some: &[NodeNumber], members: &[NodeNumber]) {
    for node in some {
        for other in members.iter().filter(|other| !some.contains(other)) {
            field.between(*node, *other, CUT);
        }
    }
}

/// Two halves that only one node in the middle can reach.
fn build_bridge(field: &mut Field) -> Begun {
    let mixed = field.pick_some(field.members.len());
    let (middle, rest) = mixed.split_first().unwrap_or((&NodeNumber(1), &[]));
    let (left, right) = rest.split_at(rest.len() / 2);
    for one in left {
        right.iter().for_each(|other| field.between(*one, *other, CUT));
    }
    Begun::at(mixed.clone(), format!("{left:?} and {right:?} see each other only through {middle}"))
}
