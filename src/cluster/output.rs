//! Every effect that the cluster's rules can have.

use super::{Message, NodeId, PeerState};
use crate::work::{Job, NonceRange, Solution, WitnessBits};

/// Names a scan that this node was told to do; never used twice.
pub type Ticket = u64;

/// What the node has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // a few wait at a time
pub enum Output {
    /// Send a message.
    Send {
        /// To whom; never this node itself.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Scan a range once those before it are done. Report with [`handle_found`](super::Cluster::handle_found),
    /// [`handle_progress`](super::Cluster::handle_progress) and [`handle_searched`](super::Cluster::handle_searched).
    Scan {
        /// Its name in those reports.
        ticket: Ticket,
        /// The job.
        job: Job,
        /// The range.
        range: NonceRange,
        /// What counts as a witness, to be reported with what is searched.
        bits: WitnessBits,
    },
    /// Stop a scan at once. Reports about it that are under way are ignored.
    Stop {
        /// Its name.
        ticket: Ticket,
    },
    /// Ask the source for the block to find, though it may have named it before. Answer with
    /// [`handle_template`](super::Cluster::handle_template).
    Ask,
    /// Submit a solution once; answer with [`handle_verdict`](super::Cluster::handle_verdict) or
    /// [`handle_unanswered`](super::Cluster::handle_unanswered).
    Submit {
        /// The solution, verified.
        solution: Solution,
        /// Who found it, as far as this node knows.
        found_by: NodeId,
    },
    /// A peer's state, as this node sees it, has changed.
    Peer {
        /// The peer.
        peer: NodeId,
        /// Its state now.
        state: PeerState,
    },
    /// This node follows another leader, or its own leadership begins anew.
    Leader {
        /// Who leads.
        leader: NodeId,
    },
    /// A node cannot have searched what it reports: a broken kernel, or a lie. It gets no more work from this process until it starts anew.
    Distrusted {
        /// The node, perhaps this one.
        node: NodeId,
    },
    /// A node reported a solution that does not solve its job.
    Refused {
        /// Who reported it.
        from: NodeId,
        /// What.
        solution: Solution,
    },
    /// A share that no session can submit any more, or of this node's own that there was no room for.
    ShareLost,
}
