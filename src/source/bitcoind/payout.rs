//! Who is paid by the blocks that Headframe builds: an address, checked against the node's chain.

use std::fmt;
use std::str::FromStr;

use bitcoin::address::NetworkUnchecked;
use bitcoin::bech32::{Hrp, segwit};
use bitcoin::consensus::deserialize;
use bitcoin::{Address, Amount, ScriptBuf, Transaction, WitnessProgram, WitnessVersion};

use super::chain::Chain;
use crate::source::http::shown;
use crate::work::{Blueprint, Slot, Template};

/// How bcoin begins its regtest's addresses, where Bitcoin Core writes "bcrt".
const BCOIN_REGTEST: &str = "rb";

/// A payout address in any of its forms. Which chain it is for is compared once the node has named its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    text: String,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Usual(Address<NetworkUnchecked>),
    /// bcoin's own form, for regtest only.
    Bcoin(ScriptBuf),
}

/// Why a text is no payout address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a Bitcoin address to be paid at, got {text}: {problem}")]
pub struct PayoutError {
    text: String,
    problem: String,
}

impl FromStr for Payout {
    type Err = PayoutError;

    fn from_str(text: &str) -> Result<Self, PayoutError> {
        let form = match segwit::decode(text) {
            Ok((hrp, version, program)) if hrp == Hrp::parse_unchecked(BCOIN_REGTEST) => {
                let program = WitnessVersion::try_from(version.to_u8())
                    .map_err(|error| error.to_string())
                    .and_then(|version| WitnessProgram::new(version, &program).map_err(|error| error.to_string()));
                program.map(|program| Form::Bcoin(ScriptBuf::new_witness_program(&program)))
            }
            _ => text.parse().map(Form::Usual).map_err(|error: bitcoin::address::ParseError| error.to_string()),
        };
        match form {
            Ok(form) => Ok(Self { text: text.to_owned(), form }),
            Err(problem) => Err(PayoutError { text: shown(text), problem }),
        }
    }
}

/// The address as it was given.
impl fmt::Display for Payout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Payout {
    /// Whether this address is paid by the blocks of a template's job of this slot, and nobody else: the coinbase has other outputs only if
    /// they are worth nothing, as the commitment to the witnesses is. Whoever makes a template could hide an output's value in the bytes
    /// that the slot fills, so every slot is looked at by itself.
    pub fn is_paid_by(&self, template: &Template, slot: Slot) -> bool {
        let Blueprint::Header { coinbase, .. } = &template.puzzle else { return false };
        let Some(extranonce) = coinbase.extranonce.bytes(slot) else { return false };
        let bytes = [&coinbase.before[..], &extranonce, &coinbase.after].concat();
        let Ok(coinbase) = deserialize::<Transaction>(&bytes) else { return false };
        let script = match &self.form {
            Form::Usual(address) => address.assume_checked_ref().script_pubkey(),
            Form::Bcoin(script) => script.clone(),
        };
        let (ours, others): (Vec<_>, Vec<_>) =
            coinbase.output.iter().partition(|output| output.script_pubkey == script);
        ours.iter().any(|output| output.value > Amount::ZERO)
            && others.iter().all(|output| output.value == Amount::ZERO)
    }

    /// The output script that pays the address.
    ///
    /// # Errors
    /// The address is one of another chain.
    pub(super) fn script(&self, chain: Chain) -> Result<ScriptBuf, String> {
        let script = match &self.form {
            Form::Usual(address) if address.is_valid_for_network(chain.network()) => {
                Some(address.clone().assume_checked().script_pubkey())
            }
            Form::Bcoin(script) if chain == Chain::Regtest => Some(script.clone()),
            _ => None,
        };
        let (text, name) = (&self.text, chain.name());
        script.ok_or_else(|| {
            format!("the payout address {text} is of another chain than the node, which is on {name}; give --payout one of {name}")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bitcoin::absolute::LockTime;
    use bitcoin::consensus::serialize;
    use bitcoin::hashes::Hash;
    use bitcoin::key::{TweakedPublicKey, UntweakedPublicKey};
    use bitcoin::transaction::Version;
    use bitcoin::{KnownHrp, OutPoint, PubkeyHash, ScriptHash, TxIn, TxOut, WPubkeyHash};

    use super::*;
    use crate::work::{BlockId, BlockTime, Coinbase, Digest, Extranonce, Goal, RoundId, Search, Target};

    /// One address of each form, for a chain.
    fn addresses(chain: Chain) -> Vec<Address> {
        let hrp = KnownHrp::from(chain.network());
        let x = UntweakedPublicKey::from_slice(&[2; 32]).unwrap();
        let program = |version, bytes: &[u8]| WitnessProgram::new(version, bytes).unwrap();
        vec![
            Address::p2pkh(PubkeyHash::from_byte_array([1; 20]), chain.network()),
            Address::p2sh_from_hash(ScriptHash::from_byte_array([2; 20]), chain.network()),
            Address::from_witness_program(program(WitnessVersion::V0, &[3; 20]), hrp),
            Address::from_witness_program(program(WitnessVersion::V0, &[4; 32]), hrp),
            Address::p2tr_tweaked(TweakedPublicKey::dangerous_assume_tweaked(x), hrp),
            Address::from_witness_program(program(WitnessVersion::V16, &[7, 7]), hrp),
        ]
    }

    /// What tells the chains' addresses apart: the three test chains share theirs, and regtest its base58 forms with them.
    fn shares(address: &Address, made_for: Chain, chain: Chain) -> bool {
        let is_test = |chain| matches!(chain, Chain::Test3 | Chain::Test4 | Chain::Signet);
        let is_base58 = address.witness_program().is_none();
        made_for == chain
            || is_test(made_for) && is_test(chain)
            || is_base58 && made_for != Chain::Main && chain != Chain::Main
    }

    #[test]
    fn every_form_pays_on_its_own_chain_and_on_no_other() {
        for made_for in Chain::ALL {
            for address in addresses(made_for) {
                let payout: Payout = address.to_string().parse().unwrap();
                for chain in Chain::ALL {
                    match payout.script(chain) {
                        Ok(script) => {
                            assert!(shares(&address, made_for, chain), "{address} on {chain:?}");
                            assert_eq!(script, address.script_pubkey());
                        }
                        Err(problem) => {
                            assert!(!shares(&address, made_for, chain), "{address} on {chain:?}");
                            assert!(problem.contains(chain.name()), "{problem}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_template_pays_an_address_if_nobody_else_is_paid() {
        let [ours, theirs] =
            [3, 4].map(|byte| Address::p2pkh(PubkeyHash::from_byte_array([byte; 20]), Chain::Regtest.network()));
        let payout: Payout = ours.to_string().parse().unwrap();
        let output =
            |address: &Address, value| TxOut { value: Amount::from_sat(value), script_pubkey: address.script_pubkey() };
        let commitment = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return([1; 36]) };
        for (outputs, expected) in [
            (vec![output(&ours, 50), commitment.clone()], true),
            (vec![output(&ours, 0)], false),
            (vec![output(&ours, 50), output(&theirs, 1)], false),
            (vec![output(&theirs, 50), commitment.clone()], false),
            (vec![commitment], false),
            (vec![], false),
        ] {
            let script_sig = ScriptBuf::from_bytes(vec![1, 7, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let input = TxIn { previous_output: OutPoint::null(), script_sig, ..TxIn::default() };
            let (version, lock_time) = (Version::TWO, LockTime::ZERO);
            let bytes = serialize(&Transaction { version, lock_time, input: vec![input], output: outputs });
            let (before, after) = (bytes[..45].to_vec(), bytes[61..].to_vec());
            let coinbase = Coinbase { before, extranonce: Extranonce::Run, after };
            assert_eq!(payout.is_paid_by(&template(coinbase), Slot::default()), expected);
        }
        let nonsense = Coinbase { before: vec![1], extranonce: Extranonce::Run, after: vec![2] };
        assert!(!payout.is_paid_by(&template(nonsense), Slot::default()));
        // Behind the run stands the number of the job, where the value of the second output is.
        let bytes = |value: u64| {
            let script_sig = ScriptBuf::from_bytes(vec![1, 7]);
            let input = TxIn { previous_output: OutPoint::null(), script_sig, ..TxIn::default() };
            let hidden = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return([0; 8]) };
            let output = vec![output(&ours, 50), hidden, output(&theirs, value)];
            serialize(&Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output })
        };
        let at = bytes(0).iter().zip(bytes(1)).position(|(a, b)| *a != b).unwrap();
        let (before, after) = (bytes(0)[..at - 8].to_vec(), bytes(0)[at + 8..].to_vec());
        let hiding = template(Coinbase { before, extranonce: Extranonce::Run, after });
        assert!(payout.is_paid_by(&hiding, Slot::default()));
        assert!(!payout.is_paid_by(&hiding, Slot { n: 50, ..Slot::default() }));
    }

    fn template(coinbase: Coinbase) -> Template {
        let round = RoundId { block: BlockId { height: 1, hash: Digest([1; 32]) }, generation: 0 };
        let goal = Goal { block: Target::MAX, report: Target::MAX, search: Search::First };
        let (coinbase, branch, time) = (Arc::new(coinbase), Arc::from([]), BlockTime::from(0));
        let puzzle = Blueprint::Header { version: 2, mask: 0, bits: 0x207f_ffff, time, coinbase, branch };
        Template { round, goal, puzzle, tag: 0 }
    }

    #[test]
    fn bcoins_regtest_addresses_are_taken_on_regtest_only() {
        let address = segwit::encode_v0(Hrp::parse("rb").unwrap(), &[9; 20]).unwrap();
        let payout: Payout = address.parse().unwrap();
        let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([9; 20]));
        assert_eq!(payout.script(Chain::Regtest), Ok(script));
        for chain in Chain::ALL.into_iter().filter(|&chain| chain != Chain::Regtest) {
            assert!(payout.script(chain).is_err());
        }
    }

    #[test]
    fn other_texts_are_no_addresses() {
        let good = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
        good.parse::<Payout>().unwrap();
        let upper = good.to_uppercase();
        assert_eq!(
            upper.parse::<Payout>().unwrap().script(Chain::Regtest),
            good.parse::<Payout>().unwrap().script(Chain::Regtest)
        );
        for text in [
            "",
            "me",
            "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt081",
            "rb1q",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
            "\u{1b}[2J",
        ] {
            let problem = text.parse::<Payout>().unwrap_err().to_string();
            assert!(problem.contains("expected a Bitcoin address") && !problem.contains('\u{1b}'), "{problem}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_address_or_none(text in ".{0,100}") {
            if let Ok(payout) = text.parse::<Payout>() {
                let address: Address<NetworkUnchecked> = text.parse().unwrap();
                assert_eq!(payout.form, Form::Usual(address));
            }
        }
    }
}
