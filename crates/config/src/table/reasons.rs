//! Sentences that many irrelevant keys share: why they have nothing to act on.

pub(crate) const NO_POOLS: &str = "requests are not handed to pools of threads with queues in front of them";
pub(crate) const NO_WAITING: &str = "requests do not wait in a queue for a thread";
pub(crate) const NEVER_DROPPED: &str =
    "answers are not dropped; a client that does not read is disconnected at the limit";
pub(crate) const NO_INSTALLATION: &str = "nothing is read from an installation directory";
pub(crate) const CONFIG_PATH: &str = "it is always the file given with -c";
pub(crate) const DEPRECATED: &str = "registrations are never compressed, in Java neither";
pub(crate) const UNUSED_IN_JAVA: &str = "Java does not use it either";
pub(crate) const JVM: &str = "there is no Java virtual machine";
pub(crate) const LOG_ONLY: &str = "it only changes what Java writes to its log files";
pub(crate) const ONE_BROKER: &str = "Java sets it by itself for brokers in a container";
pub(crate) const NO_MAPPING: &str = "files are read and written, not mapped into memory";
pub(crate) const NO_STAGING: &str =
    "messages go to the page cache before they are acknowledged, without a stage in between";
pub(crate) const OWN_FLUSHING: &str = "flushing follows flushDiskType and flushIntervalCommitLog alone";
pub(crate) const OWN_COMMITTING: &str = "there is no lock that senders wait for";
pub(crate) const OWN_DISPATCH: &str = "queues and index follow the log at once, without a loop to tune";
pub(crate) const OWN_RECOVERY: &str = "recovery always verifies, and reads as much as it has to";
pub(crate) const LONG_TOPICS: &str = "long topics are always stored in the second version of the record";
pub(crate) const QUEUES_FOLLOW: &str =
    "queue files go with the log file that they point into, without a pause";
pub(crate) const OWN_LIMITS: &str = "the limit is fixed";
pub(crate) const OWN_NET_LIMITS: &str = "connections have their own limits, in bytes";
pub(crate) const KERNEL_BUFFERS: &str = "the system sizes the buffers of sockets";
pub(crate) const TOLD_AT_ONCE: &str = "members of a group are always told at once";
pub(crate) const AT_ONCE: &str = "a broker that leaves is removed at once, without a queue";
pub(crate) const TEST_MODE: &str = "it belongs to a test mode of Java's name server";
