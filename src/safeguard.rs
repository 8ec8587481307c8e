//! What stands between a user and harm, each under a name, so that tests can show that they would notice its absence.
//!
//! A debug build that is started with `AIRSTRIP_TAKE_OUT=name` does without the safeguard of that name, or without
//! several, separated by commas. A name that no safeguard has is an error at the start, so that no test passes by a typo.
//! In release builds all stand: the question is answered when they are compiled, and the variable is an error.

use std::env;
use std::sync::OnceLock;

use clap::ValueEnum;

use crate::error::{Error, Result};

/// The variable that names what is taken out.
pub(crate) const VARIABLE: &str = "AIRSTRIP_TAKE_OUT";

/// The safeguards. To the variable they are called as here, in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Safeguard {
    // How statements are read: docs/decisions/right-answers.md has what these and all that follow are there for.
    JoinedKeys,
    Precedence,
    CountedRows,
    SimilarTo,
    LikeEscape,
    Ordinals,
    CastNames,
    LongNumbers,
    RowsIn,
    RepeatedGroups,
    // What the optimiser does.
    FiltersByPlace,
    AggregateFilters,
    ExactLiterals,
    KeptCasts,
    InSubqueries,
    ExistsAnywhere,
    SingleRows,
    Correlation,
    CorrelatedTotals,
    InLists,
    MatchesOfAny,
    Moments,
    ZonelessTimes,
    FarMoments,
    FirstGroups,
    DistinctLimit,
    LossyCasts,
    FailedEstimates,
    GroupingSets,
    SanityCheck,
    Zeros,
    Uuids,
    LeafPushdown,
    VolatileRanges,
    WindowFrames,
    // What functions compute.
    Overflow,
    Sum,
    Rounding,
    LeadLag,
    Corr,
    DatePart,
    ToTimestamp,
    NestedExtremes,
    ArgumentErrors,
    FarPlaces,
    PercentileCont,
    MapExtract,
    ListsOfNulls,
    UnknownElements,
    RegexpFlags,
    // What is durable before anybody is told: tests/faults/README.md.
    SyncData,
    SyncNames,
    SyncLogs,
    SyncNotes,
    SyncRecords,
    // What keeps clients apart, ends true and requests within bounds: the same page.
    BodyGuard,
    LastLook,
    EndMark,
    RandomCookies,
    Gate,
    Trash,
    DecompressedBytes,
    RowsOfMessages,
    SqlDepth,
    SqlExpressions,
    ErrorLength,
    // What files are said to hold.
    GroupBounds,
    CastBounds,
    TrustedFooters,
    NotedSchema,
    NullCounts,
    Int96,
    ByPartition,
    FileTypes,
    ReceivedDecimals,
}

impl Safeguard {
    /// Whether it is in its place.
    #[inline]
    pub(crate) fn stands(self) -> bool {
        !cfg!(debug_assertions) || !taken_out().contains(&self)
    }

    /// What the variable calls it.
    #[cfg(test)]
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What of a list has its safeguard standing.
pub(crate) fn standing<T, const N: usize>(guarded: [(Safeguard, T); N]) -> impl Iterator<Item = T> {
    guarded.into_iter().filter(|(safeguard, _)| safeguard.stands()).map(|(_, what)| what)
}

/// Fails if the variable is set to what is no safeguard, or in a release build; and logs what is taken out.
pub(crate) fn check() -> Result<()> {
    let Some(names) = env::var_os(VARIABLE) else { return Ok(()) };
    if !cfg!(debug_assertions) {
        return Err(Error::invalid(format!("{VARIABLE} is for tests of debug builds; unset it")));
    }
    let named = named(&names.to_string_lossy())?;
    tracing::warn!(?named, "these safeguards are taken out");
    Ok(())
}

/// The safeguards of these names.
fn named(names: &str) -> Result<Vec<Safeguard>> {
    let one = |name: &str| {
        Safeguard::from_str(name, false)
            .map_err(|_| Error::invalid(format!("{VARIABLE}: there is no safeguard {name:?}")))
    };
    names.split(',').map(one).collect()
}

/// What this process was started without.
fn taken_out() -> &'static [Safeguard] {
    static TAKEN_OUT: OnceLock<Vec<Safeguard>> = OnceLock::new();
    let read = || env::var(VARIABLE).ok().and_then(|names| named(&names).ok()).unwrap_or_default();
    TAKEN_OUT.get_or_init(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_safeguard_has_is_an_error() {
        assert_eq!(named("zeros").unwrap(), [Safeguard::Zeros]);
        assert_eq!(named("int96,filters_by_place").unwrap(), [Safeguard::Int96, Safeguard::FiltersByPlace]);
        for wrong in ["", "zero", "Zeros", "zeros,", "zeros, sum"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_stand_where_nothing_is_said() {
        let taken_out = env::var(VARIABLE).unwrap_or_default();
        let all = Safeguard::value_variants().iter();
        assert!(
            all.filter(|safeguard| !taken_out.contains(&safeguard.name()))
                .all(|safeguard| safeguard.stands())
        );
    }

    /// Runs a test of this binary without a safeguard, and fails if it passes.
    #[test]
    fn the_absence_of_each_is_noticed() {
        for (safeguard, test) in [
            (Safeguard::EndMark, "server::stream::respond::tests::a_failure_and_a_panic_end_with_an_error"),
            (
                Safeguard::DecompressedBytes,
                "server::ipc::receive::tests::a_claim_of_a_terabyte_is_refused_before_anything_is_allocated",
            ),
            (Safeguard::SqlDepth, "engine::statement::limits::tests::the_limits_are_named"),
            (
                Safeguard::SqlExpressions,
                "engine::statement::limits::tests::expressions_count_and_constants_do_not",
            ),
            (Safeguard::RandomCookies, "server::session::tests::no_two_offers_are_the_same"),
            (Safeguard::RowsOfMessages, "server::ipc::receive::tests::rows_without_bytes_are_limited"),
            (
                Safeguard::ErrorLength,
                "server::status::tests::a_message_is_cut_between_characters_to_what_clients_take",
            ),
        ] {
            let run = std::process::Command::new(env::current_exe().unwrap())
                .args(["--exact", test])
                .env(VARIABLE, safeguard.name())
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&run.stdout);
            assert!(
                output.contains("running 1 test") && !run.status.success(),
                "{test} does not miss {safeguard:?}: {output}"
            );
        }
    }
}
