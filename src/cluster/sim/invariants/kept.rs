//! Where nodes have a disk, a solution is on its finder's from the step in which it was found until its block is over.

use super::super::server::Server;
use super::super::truth::{Found, Truth};
use super::Violation;

pub(super) fn check(height: u64, truth: &Truth, server: &Server) -> Result<(), Violation> {
    let Some(disk) = &server.disk else { return Ok(()) };
    let is_open = |found: &&Found| found.by == server.id && found.solution.job.height >= height;
    match truth.found.iter().filter(is_open).find(|found| !disk.contains(&found.solution)) {
        None => Ok(()),
        Some(Found { solution, .. }) => Err(Violation::new(
            "a disk forgets no solution",
            format!("{:?} forgot {} of block {}, which is open", server.id, solution.nonce, solution.job.height),
        )),
    }
}
