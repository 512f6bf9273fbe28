//! Strongly connected components of a directed graph.

use std::collections::BTreeSet;

/// Strongly connected components of the graph in which node `i` points to `targets[i]` (Tarjan 1972). Every node is in
/// one component; nodes of a component are sorted.
pub(super) fn components(targets: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search {
        targets,
        order: vec![None; targets.len()],
        lowest: vec![0; targets.len()],
        stack: Vec::new(),
        visited: 0,
        components: Vec::new(),
    };
    for node in 0..targets.len() {
        if search.order[node].is_none() {
            search.visit(node);
        }
    }
    search.components
}

struct Search<'a> {
    targets: &'a [BTreeSet<usize>],
    /// When each node was first seen.
    order: Vec<Option<usize>>,
    /// The earliest node on the stack that is reachable from each node.
    lowest: Vec<usize>,
    /// Nodes whose component is not known yet.
    stack: Vec<usize>,
    visited: usize,
    components: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn visit(&mut self, node: usize) {
        let own = self.visited;
        self.visited += 1;
        self.order[node] = Some(own);
        self.lowest[node] = own;
        self.stack.push(node);
        for &target in &self.targets[node] {
            match self.order[target] {
                None => {
                    self.visit(target);
                    self.lowest[node] = self.lowest[node].min(self.lowest[target]);
                }
                Some(seen) if self.stack.contains(&target) => {
                    self.lowest[node] = self.lowest[node].min(seen);
                }
                // In a component that is complete.
                Some(_) => {}
            }
        }
        if self.lowest[node] == own {
            let start = self.stack.iter().position(|&found| found == node).unwrap_or_default();
            let mut component = self.stack.split_off(start);
            component.sort_unstable();
            self.components.push(component);
        }
    }
}
