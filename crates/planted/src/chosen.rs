//! The bugs that this process was started with. The environment variable is read once, at the first question.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::StartError;
use crate::bug::Bug;

const VARIABLE: &str = "ANABRANCH_PLANTED_BUG";
/// The only program that may have planted bugs.
const PROGRAM: &str = "anabranch-planted";

static CHOSEN: LazyLock<Result<BTreeSet<Bug>, StartError>> =
    LazyLock::new(|| parse(&std::env::var(VARIABLE).unwrap_or_default()));

/// Whether `bug` is planted in this process. Ends the process if the variable has an unknown name.
pub fn planted(bug: Bug) -> bool {
    match &*CHOSEN {
        Ok(chosen) => chosen.contains(&bug),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    }
}

/// Checks that the program of this name may start, and prints a warning with the bugs that it has.
///
/// # Errors
/// [`StartError::WrongProgram`] for any program but `anabranch-planted`; [`StartError::UnknownBug`].
pub fn check_start(program: &str) -> Result<(), StartError> {
    if program != PROGRAM {
        return Err(StartError::WrongProgram);
    }
    let names: Vec<_> =
        CHOSEN.as_ref().map_err(Clone::clone)?.iter().map(|bug| bug.name()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    eprintln!("warning: this program has planted bugs and breaks promises on purpose: {names}");
    Ok(())
}

fn parse(text: &str) -> Result<BTreeSet<Bug>, StartError> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| Bug::named(name).ok_or_else(|| unknown(name))).collect()
}

fn unknown(name: &str) -> StartError {
    let known: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    StartError::UnknownBug { name: name.to_owned(), known: known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_separated_by_commas() {
        let expected = BTreeSet::from([Bug::DropTail, Bug::AckBeforeFsync]);
        assert_eq!(parse(" drop-tail,ack-before-fsync,"), Ok(expected));
        assert_eq!(parse(""), Ok(BTreeSet::new()));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_bugs() {
        let error = parse("drop-tail,no-such-bug").unwrap_err().to_string();
        assert!(error.contains("\"no-such-bug\"") && error.contains("drop-tail"), "{error}");
    }

    #[test]
    fn every_name_finds_its_bug_and_only_one() {
        for bug in Bug::ALL {
            assert_eq!(Bug::named(bug.name()), Some(*bug));
        }
        let distinct: BTreeSet<_> = Bug::ALL.iter().collect();
        assert_eq!(distinct.len(), Bug::ALL.len());
    }

    #[test]
    fn only_one_program_may_start() {
        assert_eq!(check_start("anabranch"), Err(StartError::WrongProgram));
        assert_eq!(check_start(PROGRAM), Ok(()));
    }
}
