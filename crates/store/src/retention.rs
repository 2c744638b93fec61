//! Old messages make room for new ones.
//!
//! [`decide`] is pure: rules, clock, disks and files in, what may go out. The clean loop asks it, removes one file of the
//! log at a time, oldest first, and then what pointed into it: queue files, index files. Never removed are the file that
//! is being written, what somebody still needs (a replica that lags), and what the checkpoint has not passed, because
//! queues could not be rebuilt without it. A consumer in the middle of a removed file finds its offset too small at the
//! next pull, as with Java.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ferromq_protocol::types::TimestampMs;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::config::StoreConfig;
use crate::disk::Space;
use crate::engine::Engine;
use crate::health::Trouble;
use crate::layout::physical;

/// What may go, and when. Java's keys are given with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRules {
    /// Time since the last write after which a file of the log may go (`fileReservedTime`).
    pub keep: Duration,
    /// Hours of the day, bits 0 to 23, in which old files go (`deleteWhen`).
    pub delete_hours: u32,
    /// Used percent of the disk above which old files go at any hour (`diskMaxUsedSpaceRatio`).
    pub start_percent: u8,
    /// Used percent above which files go whatever their age (`diskSpaceCleanForciblyRatio`).
    pub force_percent: u8,
    /// Used percent above which no records are taken (`diskSpaceWarningLevelRatio`).
    pub full_percent: u8,
    /// Whether files may go that are not old enough (`cleanFileForciblyEnable`).
    pub force: bool,
    /// Files of the log that go in one round (`deleteFileBatchMax`).
    pub files_per_round: u32,
    /// Pause between two of them (`deleteCommitLogFilesInterval`).
    pub pause: Duration,
}

impl Default for RetentionRules {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(72 * 3_600),
            delete_hours: 1 << 4,
            start_percent: 75,
            force_percent: 85,
            full_percent: 90,
            force: true,
            files_per_round: 10,
            pause: Duration::from_millis(100),
        }
    }
}

/// A file of the log, as far as its age matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// First position.
    pub base: u64,
    /// Position behind it.
    pub end: u64,
    /// Last write.
    pub modified: TimestampMs,
}

/// Everything a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Wall clock.
    pub now: TimestampMs,
    /// Local hour of the day.
    pub hour: u8,
    /// Used percent of the disk with the log; `None` if it cannot be told.
    pub log_disk_percent: Option<u8>,
    /// Used percent of the disk with the queues.
    pub queue_disk_percent: Option<u8>,
    /// Somebody asked for it.
    pub on_request: bool,
    /// Files of the log, oldest first.
    pub files: &'a [LogFile],
    /// Where the next record goes.
    pub written: u64,
    /// Who needs the log needs it from here on.
    pub floor: Option<u64>,
}

/// Why a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is old, and it is the hour.
    Hour,
    /// It is old, and the disk is filling up.
    Filling,
    /// It is old, and somebody asked.
    Request,
    /// The disk is nearly full, however young the file is.
    Forced,
}

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The oldest file goes, for this reason.
    pub remove_oldest: Option<Reason>,
    /// It would go, but somebody still needs it.
    pub held_back: bool,
    /// No records are to be taken until there is room again.
    pub disk_full: bool,
}

/// Decides about the oldest file of the log and about taking records.
#[must_use]
pub fn decide(rules: &RetentionRules, situation: &Situation<'_>) -> Decision {
    // A disk that cannot be measured neither stops the broker nor costs a message.
    let fullest = situation.log_disk_percent.max(situation.queue_disk_percent).unwrap_or(0);
    let mut decision = Decision { disk_full: fullest > rules.full_percent, ..Decision::default() };

    // The last file stays even when it is exactly full: the next positions follow from its name.
    let Some((oldest, [_, ..])) = situation.files.split_first() else { return decision };
    if oldest.end > situation.written {
        return decision;
    }
    let keep = i64::try_from(rules.keep.as_millis()).unwrap_or(i64::MAX);
    let is_old = situation.now.0 >= oldest.modified.0.saturating_add(keep);
    let forced = rules.force && fullest > rules.force_percent.min(rules.full_percent);
    let reason = if forced {
        Some(Reason::Forced)
    } else if !is_old {
        None
    } else if situation.on_request {
        Some(Reason::Request)
    } else if fullest > rules.start_percent {
        Some(Reason::Filling)
    } else if situation.hour < 24 && rules.delete_hours >> situation.hour & 1 == 1 {
        Some(Reason::Hour)
    } else {
        None
    };
    decision.held_back = reason.is_some() && situation.floor.is_some_and(|floor| floor < oldest.end);
    decision.remove_oldest = reason.filter(|_| !decision.held_back);
    decision
}

/// Used percent as Java and `df` count it, rounded up: what an ordinary user could have is the whole.
#[must_use]
pub fn used_percent(space: &Space) -> u8 {
    let used = space.total.saturating_sub(space.free);
    let whole = u128::from(used) + u128::from(space.available);
    if whole == 0 {
        return 0;
    }
    u8::try_from((u128::from(used) * 100).div_ceil(whole)).unwrap_or(100)
}

/// Rounds that somebody who asks for a cleaning gets; Java's number.
const ROUNDS_ON_REQUEST: u32 = 20;

/// The store's side of it. Changing the rules waits for no round.
#[derive(Debug)]
pub(crate) struct Retention {
    rules: Mutex<RetentionRules>,
    requested_rounds: AtomicU32,
    rounds: Mutex<Rounds>,
}

/// Where the clean loop stands.
#[derive(Debug)]
struct Rounds {
    /// Nothing is removed before.
    removes_from: Duration,
    /// When the next round begins.
    next_round: Duration,
    left_in_round: u32,
    reported_held_back: bool,
    /// Start of the log that queues and index know of; `None` until they were told once.
    trimmed_to: Option<u64>,
}

impl Retention {
    pub(crate) fn new(config: &StoreConfig, now: Duration) -> Self {
        Self {
            rules: Mutex::new(config.retention),
            requested_rounds: AtomicU32::new(0),
            rounds: Mutex::new(Rounds {
                removes_from: now + config.clean_delay,
                next_round: now,
                left_in_round: 0,
                reported_held_back: false,
                trimmed_to: None,
            }),
        }
    }
}

impl Engine {
    /// See [`crate::Store::set_retention`].
    pub(crate) fn set_retention(&self, rules: RetentionRules) {
        *self.retention.rules.lock() = rules;
    }

    /// See [`crate::Store::request_cleaning`].
    pub(crate) fn request_cleaning(&self) {
        self.retention.requested_rounds.store(ROUNDS_ON_REQUEST, Ordering::Release);
        self.signals.clean.raise();
    }

    /// One look at disks and files, and at most one file of the log removed. Returns how long to rest.
    pub(crate) fn clean_step(&self) -> Duration {
        let rules = *self.retention.rules.lock();
        let mut rounds = self.retention.rounds.lock();
        let elapsed = self.clock.elapsed();
        let requested = self.retention.requested_rounds.load(Ordering::Acquire);
        if rounds.left_in_round == 0 {
            // Whoever asks does not wait for the first round.
            if elapsed < rounds.next_round && requested < ROUNDS_ON_REQUEST {
                return rounds.next_round - elapsed;
            }
            rounds.next_round = elapsed + self.config.clean_interval;
            rounds.left_in_round = rules.files_per_round.max(1);
        }
        let decision = self.decide_retention(&rules, requested > 0);
        self.tell_disk_full(decision.disk_full);
        if decision.held_back != std::mem::replace(&mut rounds.reported_held_back, decision.held_back)
            && decision.held_back
        {
            tracing::warn!("old files of the log are kept for somebody who still needs them");
        }
        let may_remove =
            (elapsed >= rounds.removes_from || requested > 0) && !self.health.has(Trouble::Poisoned);
        let removed =
            may_remove && decision.remove_oldest.is_some_and(|reason| self.remove_oldest_segment(reason));
        rounds.left_in_round = if removed { rounds.left_in_round - 1 } else { 0 };
        if may_remove {
            self.trim_to_log(&mut rounds);
        }
        if rounds.left_in_round > 0 {
            return rules.pause;
        }
        if requested > 0 {
            self.retention.requested_rounds.store(requested - 1, Ordering::Release);
        }
        rounds.next_round.saturating_sub(elapsed)
    }

    fn tell_disk_full(&self, full: bool) {
        if self.health.set(Trouble::DiskFull, full) {
            if full {
                tracing::error!("the disk is nearly full: no records are taken");
            } else {
                tracing::info!("there is room on the disk again");
            }
            self.signals.commit.raise();
        }
    }

    fn decide_retention(&self, rules: &RetentionRules, on_request: bool) -> Decision {
        let now = self.clock.now();
        let moment = Timestamp::from_millisecond(now.0).unwrap_or(Timestamp::UNIX_EPOCH);
        let local = moment.to_zoned_datetime(self.config.time_zone.clone());
        // Only the oldest is judged; a second one says that it is not the last.
        let files: Vec<LogFile> = self
            .log
            .segments
            .list()
            .iter()
            .take(2)
            .map(|segment| LogFile {
                base: segment.base,
                end: segment.end(),
                modified: self.modified(segment.path()).unwrap_or(now),
            })
            .collect();
        decide(
            rules,
            &Situation {
                now,
                hour: u8::try_from(local.hour()).unwrap_or(u8::MAX),
                log_disk_percent: self.disk_percent(self.layout.commit_log()),
                queue_disk_percent: self.disk_percent(&self.layout.consume_queues()),
                on_request,
                files: &files,
                written: self.log.written().position,
                floor: self.replication.floor(),
            },
        )
    }

    fn modified(&self, path: &Path) -> Option<TimestampMs> {
        self.disk.metadata(path).ok().flatten().map(|entry| entry.modified)
    }

    fn disk_percent(&self, path: &Path) -> Option<u8> {
        match self.disk.space(path) {
            Ok(space) => Some(used_percent(&space)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot tell how full the disk is");
                None
            }
        }
    }

    fn remove_oldest_segment(&self, reason: Reason) -> bool {
        let Some(oldest) = self.log.segments.list().first().cloned() else { return false };
        // Queues are rebuilt from the checkpoint on, so it has to be behind what goes.
        if self.checkpoint_position().is_none_or(|known| known < oldest.end())
            && !(self.write_checkpoint_now()
                && self.checkpoint_position().is_some_and(|known| known >= oldest.end()))
        {
            return false;
        }
        match self.log.segments.remove(|segment| segment.base == oldest.base) {
            Ok(_) => {
                self.counters.removed_segments.fetch_add(1, Ordering::Relaxed);
                tracing::info!(file = %oldest.path().display(), ?reason, "removed the oldest file of the log");
                true
            }
            Err(error) => {
                tracing::error!(file = %oldest.path().display(), %error, "cannot remove a file of the log");
                false
            }
        }
    }

    /// Queues and index follow the start of the log.
    fn trim_to_log(&self, rounds: &mut Rounds) {
        let start = self.log.min_position();
        if rounds.trimmed_to == Some(start) {
            return;
        }
        // A power cut must not bring back a file of the log whose queue entries are gone.
        if let Err(error) = self.log.segments.sync_removals() {
            tracing::error!(%error, "cannot sync the directory of the log");
            return;
        }
        let log_start = physical(start);
        let queues = self.queues.raise_min(log_start).and_then(|()| self.queues.remove_expired(log_start));
        let index = self.index.as_ref().map_or(Ok(0), |index| index.load().remove_expired(log_start));
        match (queues, index) {
            (Ok(queue_files), Ok(index_files)) => {
                rounds.trimmed_to = Some(start);
                if queue_files + index_files > 0 {
                    tracing::info!(
                        queue_files,
                        index_files,
                        "removed files that pointed to removed messages"
                    );
                }
            }
            // Tried again in the next round.
            (queues, index) => {
                if let Err(error) = queues {
                    tracing::error!(%error, "cannot trim queues");
                }
                if let Err(error) = index {
                    tracing::error!(%error, "cannot trim the index");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const RULES: RetentionRules = RetentionRules {
        keep: Duration::from_secs(72 * 3_600),
        delete_hours: 1 << 4 | 1 << 23,
        start_percent: 75,
        force_percent: 85,
        full_percent: 90,
        force: true,
        files_per_round: 10,
        pause: Duration::from_millis(100),
    };
    const FILES: [LogFile; 3] = [
        LogFile { base: 1_000, end: 2_000, modified: TimestampMs(1_000 * HOUR_MS) },
        LogFile { base: 2_000, end: 3_000, modified: TimestampMs(1_010 * HOUR_MS) },
        LogFile { base: 3_000, end: 4_000, modified: TimestampMs(1_020 * HOUR_MS) },
    ];

    /// Old enough, at noon, with room.
    fn calm() -> Situation<'static> {
        Situation {
            now: TimestampMs(1_072 * HOUR_MS),
            hour: 12,
            log_disk_percent: Some(50),
            queue_disk_percent: Some(50),
            on_request: false,
            files: &FILES,
            written: 3_500,
            floor: None,
        }
    }

    fn removes(situation: &Situation<'_>) -> Option<Reason> {
        decide(&RULES, situation).remove_oldest
    }

    #[test]
    fn an_old_file_goes_in_the_hours_for_it() {
        assert_eq!(removes(&calm()), None);
        assert_eq!(removes(&Situation { hour: 4, ..calm() }), Some(Reason::Hour));
        assert_eq!(removes(&Situation { hour: 23, ..calm() }), Some(Reason::Hour));
        assert_eq!(removes(&Situation { hour: 24, ..calm() }), None, "no such hour");
    }

    #[test]
    fn a_file_is_old_when_its_time_is_up_and_not_before() {
        let at_four = Situation { hour: 4, ..calm() };
        assert_eq!(removes(&Situation { now: TimestampMs(1_072 * HOUR_MS - 1), ..at_four }), None);
        assert_eq!(removes(&at_four), Some(Reason::Hour));
        let from_the_future = [LogFile { modified: TimestampMs(i64::MAX), ..FILES[0] }, FILES[1]];
        assert_eq!(removes(&Situation { files: &from_the_future, ..at_four }), None);
    }

    #[test]
    fn a_filling_disk_makes_any_hour_right_for_old_files() {
        let filling = |log, queues| Situation {
            log_disk_percent: Some(log),
            queue_disk_percent: Some(queues),
            ..calm()
        };
        assert_eq!(removes(&filling(75, 75)), None);
        assert_eq!(removes(&filling(76, 10)), Some(Reason::Filling));
        assert_eq!(removes(&filling(10, 76)), Some(Reason::Filling), "the disk of the queues counts too");
        let young = Situation { now: TimestampMs(1_001 * HOUR_MS), ..filling(80, 80) };
        assert_eq!(removes(&young), None);
    }

    #[test]
    fn a_nearly_full_disk_takes_young_files_if_that_is_allowed() {
        let young = Situation { now: TimestampMs(1_001 * HOUR_MS), log_disk_percent: Some(86), ..calm() };
        assert_eq!(removes(&young), Some(Reason::Forced));
        assert_eq!(removes(&Situation { log_disk_percent: Some(85), ..young }), None);
        let careful = RetentionRules { force: false, ..RULES };
        assert_eq!(decide(&careful, &young).remove_oldest, None);
    }

    #[test]
    fn records_are_refused_above_the_warning_level_and_taken_below_it() {
        let full = |log, queues| {
            let disks = Situation { log_disk_percent: log, queue_disk_percent: queues, ..calm() };
            decide(&RULES, &disks).disk_full
        };
        assert!(full(Some(91), Some(10)) && full(Some(10), Some(91)));
        assert!(!full(Some(90), Some(90)));
        assert!(!full(None, None), "not known is not full");
        assert!(full(None, Some(95)));
        // Also with nothing that could go.
        let alone = Situation { files: &FILES[2..], log_disk_percent: Some(99), ..calm() };
        assert_eq!(decide(&RULES, &alone), Decision { disk_full: true, ..Decision::default() });
    }

    #[test]
    fn whoever_asks_gets_old_files_removed() {
        assert_eq!(removes(&Situation { on_request: true, ..calm() }), Some(Reason::Request));
        let young = Situation { on_request: true, now: TimestampMs(1_001 * HOUR_MS), ..calm() };
        assert_eq!(removes(&young), None);
    }

    #[test]
    fn the_file_that_is_written_and_the_last_one_never_go() {
        let desperate = Situation { hour: 4, log_disk_percent: Some(100), ..calm() };
        assert_eq!(removes(&Situation { files: &FILES[..1], ..desperate }), None);
        assert_eq!(removes(&Situation { files: &[], ..desperate }), None);
        assert_eq!(
            removes(&Situation { written: 1_999, ..desperate }),
            None,
            "another one is prepared already"
        );
        assert_eq!(removes(&Situation { written: 2_000, ..desperate }), Some(Reason::Forced));
    }

    #[test]
    fn what_somebody_needs_stays_even_on_a_full_disk() {
        let needed = |floor| Situation { floor: Some(floor), log_disk_percent: Some(99), ..calm() };
        let decision = decide(&RULES, &needed(1_999));
        assert_eq!((decision.remove_oldest, decision.held_back), (None, true));
        assert_eq!(removes(&needed(2_000)), Some(Reason::Forced));
        assert!(
            !decide(&RULES, &Situation { floor: Some(0), ..calm() }).held_back,
            "nothing would go anyway"
        );
    }

    #[test]
    fn percents_are_those_of_df() {
        let percent = |total, free, available| used_percent(&Space { total, free, available });
        assert_eq!(percent(100, 50, 50), 50);
        assert_eq!(percent(100, 50, 45), 53, "reserved blocks count neither way, and it is rounded up");
        assert_eq!(percent(0, 0, 0), 0);
        assert_eq!(percent(1_000_000, 1, 1), 100);
        assert_eq!(percent(u64::MAX, 0, 0), 100);
    }
}
