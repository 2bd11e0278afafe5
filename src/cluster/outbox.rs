//! Collects outputs; what a node says to itself stays inside.

use std::collections::VecDeque;

use super::{Message, NodeId, Output};

/// Outputs in order, and the messages of this node's leader to its worker and back.
#[derive(Debug)]
pub(super) struct Outbox {
    id: NodeId,
    pub(super) outputs: VecDeque<Output>,
    pub(super) to_self: VecDeque<Message>,
}

impl Outbox {
    pub(super) fn new(id: NodeId) -> Self {
        Self { id, outputs: VecDeque::new(), to_self: VecDeque::new() }
    }

    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        if to == self.id {
            self.to_self.push_back(message);
        } else {
            self.outputs.push_back(Output::Send { to, message });
        }
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}
