//! Every effect that the cluster's rules can have.

use super::{Epoch, Message, NodeId, PeerState};
use crate::work::{Job, NonceRange, ShareBits, Solution};

/// Names a scan that this node was told to do; never used twice.
pub type Ticket = u64;

/// What the node has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        /// What counts as a share, to be reported with what is searched.
        bits: ShareBits,
    },
    /// Stop a scan at once. Reports about it that are under way are ignored.
    Stop {
        /// Its name.
        ticket: Ticket,
    },
    /// This leader has no free nonces: hand in a job with [`handle_job`](super::Cluster::handle_job), of the same block with
    /// another timestamp, or of the next one.
    NeedJob,
    /// Submit a verified solution until the source has said its final word, then call
    /// [`handle_settled`](super::Cluster::handle_settled).
    Submit {
        /// The solution.
        solution: Solution,
        /// Who found it.
        found_by: NodeId,
    },
    /// A peer's state, as this node sees it, has changed.
    Peer {
        /// The peer.
        peer: NodeId,
        /// Its state now.
        state: PeerState,
    },
    /// Another leader or epoch from now on.
    Leader {
        /// Who leads.
        leader: NodeId,
        /// Since when.
        epoch: Epoch,
    },
    /// A node cannot have searched what it claims: a broken kernel, or a lie. It gets no more work until it starts anew.
    Distrusted {
        /// The node, perhaps this one.
        node: NodeId,
    },
    /// A node claimed a solution that does not verify.
    Refused {
        /// Who claimed it.
        from: NodeId,
        /// What.
        solution: Solution,
    },
}
