//! Which chain a node is on, and what depends on that: the easiest target, the addresses, the rules that a template is asked with.

use bitcoin::Network;

use super::super::http::shown;
use crate::work::Target;

/// The chains that blocks are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Main,
    Test3,
    Test4,
    Signet,
    Regtest,
}

impl Chain {
    pub(super) const ALL: [Self; 5] = [Self::Main, Self::Test3, Self::Test4, Self::Signet, Self::Regtest];

    /// The chain that `getblockchaininfo` names. (bcoin says "testnet" where Bitcoin Core says "test".)
    ///
    /// # Errors
    /// It is none of these.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let is_it = |chain: &Self| chain.name() == name;
        match name {
            "testnet" | "testnet3" => Ok(Self::Test3),
            _ => Self::ALL.into_iter().find(is_it).ok_or_else(|| {
                format!("expected a node on main, test, testnet4, signet or regtest, got one on {}", shown(name))
            }),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Test3 => "test",
            Self::Test4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// As the crate `bitcoin` names it.
    pub(super) fn network(self) -> Network {
        match self {
            Self::Main => Network::Bitcoin,
            Self::Test3 => Network::Testnet,
            Self::Test4 => Network::Testnet4,
            Self::Signet => Network::Signet,
            Self::Regtest => Network::Regtest,
        }
    }

    /// The easiest target that a block of this chain may have.
    pub(super) fn limit(self) -> Target {
        // The first bytes of the number; the rest is at its highest, or 0 on signet (BIP 325).
        let (first, rest): (&[u8], u8) = match self {
            Self::Main | Self::Test3 | Self::Test4 => (&[0, 0, 0, 0], 0xff),
            Self::Signet => (&[0, 0, 0x03, 0x77, 0xae], 0),
            Self::Regtest => (&[0x7f], 0xff),
        };
        Target::from_be_bytes(std::array::from_fn(|at| first.get(at).copied().unwrap_or(rest)))
    }

    /// Whether a block that comes 20 minutes after the one before needs no work to speak of (BIP 94 for testnet4).
    pub(super) fn eases(self) -> bool {
        matches!(self, Self::Test3 | Self::Test4)
    }

    /// The rules that Headframe follows when it builds a block, as a template is asked with (BIP 9, BIP 145, BIP 325).
    pub(super) fn rules(self) -> &'static [&'static str] {
        if self == Self::Signet { &["segwit", "signet"] } else { &["segwit"] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_known_by_the_names_that_nodes_give_them() {
        for chain in Chain::ALL {
            assert_eq!(Chain::named(chain.name()), Ok(chain));
        }
        assert_eq!(Chain::named("testnet"), Ok(Chain::Test3));
        for other in ["", "Main", "simnet", "regtest\n\u{1b}[2J"] {
            let problem = Chain::named(other).unwrap_err();
            assert!(problem.contains("expected a node on main") && !problem.contains('\n'), "{problem}");
        }
    }

    #[test]
    fn the_easiest_targets_are_those_of_the_crate_bitcoin() {
        for chain in Chain::ALL {
            let easiest =
                bitcoin::Target::from_compact(chain.network().params().max_attainable_target.to_compact_lossy());
            let easiest = Target::from_be_bytes(easiest.to_be_bytes());
            assert!(easiest <= chain.limit(), "{chain:?}: {easiest:?}");
            let next = Target::from_bits(match chain {
                Chain::Signet => 0x1e03_77af,
                Chain::Regtest => 0x2100_8000,
                _ => 0x1d01_0000,
            });
            assert!(next.unwrap() > chain.limit(), "{chain:?}");
        }
    }
}
