//! The merkle branch of a coinbase: what its txid is hashed with, step by step, to give the block's root.

use crate::work::{Digest, reference};

/// The branch of the first leaf, lowest first, where `others` are the leaves behind it. A row of odd length ends with its last node twice,
/// as Bitcoin has it.
pub(super) fn branch(others: Vec<Digest>) -> Vec<Digest> {
    let mut branch = Vec::new();
    // What stands beside the first node of each row.
    let mut row = others;
    while let Some(&beside) = row.first() {
        branch.push(beside);
        row = row[1..].chunks(2).map(|pair| parent(pair[0], pair[pair.len() - 1])).collect();
    }
    branch
}

/// The root above `first` with its branch.
pub(super) fn root(first: Digest, branch: &[Digest]) -> Digest {
    branch.iter().fold(first, |left, &right| parent(left, right))
}

fn parent(left: Digest, right: Digest) -> Digest {
    reference::sha256d(&[left.0, right.0].concat())
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::{Hash, sha256d};
    use bitcoin::merkle_tree::calculate_root;

    use super::*;

    #[test]
    fn a_lone_coinbase_is_the_root() {
        assert_eq!(branch(vec![]), []);
        assert_eq!(root(Digest([7; 32]), &[]), Digest([7; 32]));
    }

    proptest::proptest! {
        #[test]
        fn the_root_is_that_of_the_crate_bitcoin(leaves in proptest::collection::vec(proptest::array::uniform32(0u8..), 1..70)) {
            let expected = calculate_root(leaves.iter().map(|&leaf| sha256d::Hash::from_byte_array(leaf))).unwrap();
            let mut leaves = leaves.into_iter().map(Digest);
            let first = leaves.next().unwrap();
            assert_eq!(root(first, &branch(leaves.collect())).0, expected.to_byte_array());
        }
    }
}
