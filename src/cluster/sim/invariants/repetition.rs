//! How much may be hashed twice.

use super::super::world::World;
use super::Violation;

/// At most so many nonces were hashed that had been hashed since the count last began.
pub(in super::super) fn check(world: &World, most: u64, why: &str) -> Result<(), Violation> {
    let repeated = world.truth.repeated;
    if repeated > most {
        let what = format!("{repeated} nonces, where {most} may be, {why}");
        return Err(Violation::new("no more is hashed twice than a fault costs", what));
    }
    Ok(())
}
