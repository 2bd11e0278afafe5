//! The `headframe` command.

fn main() {}
