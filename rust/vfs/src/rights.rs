//! Access rights of files that stand beside a database, or in its place.

/// What of `mode`, the access rights of one file, another file may have that could not be given the same group.
///
/// Nobody may do more with the other file. Who is in the old group is one of the others there, and who is in its own group was one
/// of them before: so both may do what group and others may in `mode`. Bits beyond these nine are left out.
#[must_use]
pub const fn mode_in_another_group(mode: u32) -> u32 {
    let both = (mode >> 3) & mode & 0o7;
    mode & 0o700 | both << 3 | both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_in_who_could_not_before() {
        let cases = [
            (0o660, 0o600),
            (0o640, 0o600),
            (0o664, 0o644),
            (0o644, 0o644),
            (0o666, 0o666),
            // The group is kept out on purpose, and would be let in with the others.
            (0o604, 0o600),
            (0o6775, 0o755),
        ];
        for (mode, expected) in cases {
            assert_eq!(mode_in_another_group(mode), expected, "{mode:o}");
        }
    }
}
