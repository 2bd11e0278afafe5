//! How much may be hashed twice.

use super::super::world::World;
use super::Violation;

/// A count from some moment on.
pub(in super::super) struct Repetition {
    begin: u64,
}

impl Repetition {
    pub(in super::super) fn since(world: &World) -> Self {
        Self { begin: world.truth.repeated }
    }

    /// At most so many nonces were hashed that had been hashed before.
    pub(in super::super) fn check(&self, world: &World, most: u64, why: &str) -> Result<(), Violation> {
        let repeated = world.truth.repeated - self.begin;
        if repeated > most {
            let what = format!("{repeated} nonces, where {most} may be, {why}");
            return Err(Violation::new("no more is hashed twice than a fault costs", what));
        }
        Ok(())
    }
}
