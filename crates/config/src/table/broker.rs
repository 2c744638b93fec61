//! Keys of Java's `BrokerConfig` and `BrokerIdentity`.

use crate::key::{Feature, Key};
use crate::table::reasons::{
    CONFIG_PATH, DEPRECATED, JVM, LOG_ONLY, NEVER_DROPPED, NO_INSTALLATION, NO_POOLS, NO_WAITING, ONE_BROKER,
    OWN_LIMITS, TOLD_AT_ONCE, UNUSED_IN_JAVA,
};
use crate::table::{
    end_transaction_threads, host_name, local_address, pull_threads, query_threads, up_to_4, up_to_32,
};

pub(crate) const KEYS: &[Key] = &[
    // Who this broker is.
    Key::text("brokerClusterName", "DefaultCluster").important().honoured("Cluster this broker belongs to."),
    Key::unset("brokerName")
        .of_host(host_name)
        .important()
        .honoured("Name of the broker group; all its members share it."),
    Key::long("brokerId", 0).important().honoured("Member of the group; 0 leads. A master always has 0."),
    Key::unset("brokerIP1")
        .of_host(local_address)
        .important()
        .honoured("Address registered at name servers and written into message ids."),
    Key::unset("brokerIP2").of_host(local_address).honoured("Address registered for replication."),
    Key::int("listenPort", 10_911)
        .important()
        .within(0, 65_535)
        .honoured("Port for clients; the fast port is two below."),
    Key::text("regionId", "DefaultRegion").honoured("Region name that answers to sends carry."),
    Key::unset("rocketmqHome").alias(&["rocketmq.home.dir"]).env("ROCKETMQ_HOME").irrelevant(NO_INSTALLATION),
    Key::unset("brokerConfigPath").irrelevant(CONFIG_PATH),
    Key::int("brokerPermission", 6)
        .reloadable()
        .within(0, 7)
        .honoured("What clients may do here: 4 read, 2 write, 6 both."),
    Key::text("configBlackList", "configBlackList;brokerConfigPath")
        .honoured("Further keys that updateBrokerConfig refuses, separated by semicolons."),
    // Name servers.
    Key::unset("namesrvAddr")
        .alias(&["rocketmq.namesrv.addr"])
        .important()
        .reloadable()
        .env("NAMESRV_ADDR")
        .honoured("Name servers, separated by semicolons."),
    Key::bool("fetchNamesrvAddrByAddressServer", false)
        .important()
        .honoured("Ask an HTTP address server for the name servers when namesrvAddr is not set."),
    Key::long("fetchNamesrvAddrInterval", 10_000)
        .positive()
        .honoured("Milliseconds between two questions to the address server."),
    Key::bool("fetchNameSrvAddrByDnsLookup", false)
        .important()
        .honoured("Register at every address that the host names in namesrvAddr resolve to."),
    Key::int("updateNameServerAddrPeriod", 120_000)
        .positive()
        .honoured("Milliseconds after which namesrvAddr is resolved again."),
    Key::bool("forceRegister", true).honoured("Register even when nothing changed since the last time."),
    Key::int("registerNameServerPeriod", 30_000)
        .honoured("Milliseconds between registrations, at least 10,000 and at most 60,000."),
    Key::int("registerBrokerTimeoutMills", 24_000)
        .positive()
        .honoured("Milliseconds a registration may take."),
    Key::bool("enableSingleTopicRegister", false).honoured(
        "A changed topic is registered with all others, for name servers with deleteTopicWithBrokerRegistration=true.",
    ),
    Key::bool("enableSplitRegistration", false).honoured("Register many topics in several requests."),
    Key::int("splitRegistrationSize", 800)
        .positive()
        .honoured("Topics in one request of a split registration."),
    Key::bool("compressedRegister", false).irrelevant(DEPRECATED),
    // Topics and groups.
    Key::bool("autoCreateTopicEnable", true)
        .important()
        .reloadable()
        .honoured("A send to an unknown topic creates it."),
    Key::int("defaultTopicQueueNums", 8)
        .positive()
        .honoured("Queues of the template topic that new topics are made after."),
    Key::bool("clusterTopicEnable", true).honoured("The topic named as the cluster may be read and written."),
    Key::bool("brokerTopicEnable", true).honoured("The topic named as the broker may be read and written."),
    Key::bool("traceTopicEnable", false).important().honoured("Create the trace topic."),
    Key::text("msgTraceTopicName", "RMQ_SYS_TRACE_TOPIC").important().honoured("Name of the trace topic."),
    Key::int("reviveQueueNum", 8).positive().honoured(
        "Queues of the topic that pop consumption keeps its notes in; the topic is created for Java's sake.",
    ),
    Key::bool("validateSystemTopicWhenUpdateTopic", true)
        .reloadable()
        .honoured("System topics cannot be changed or deleted by requests."),
    Key::bool("clearRetryTopicWhenDeleteTopic", true)
        .reloadable()
        .honoured("Deleting a topic deletes the pop retry topics that belong to it."),
    Key::bool("autoCreateSubscriptionGroup", true)
        .important()
        .reloadable()
        .honoured("A consumer of an unknown group creates it."),
    Key::bool("enableCreateSysGroup", true)
        .reloadable()
        .honoured("System groups are created even if others are not."),
    Key::bool("enableSplitMetadata", true)
        .honoured("Topics and groups are listed in pages when the caller can do that."),
    Key::int("splitMetadataSize", 2000).positive().honoured("Entries on one such page."),
    // Sends.
    Key::long("startAcceptSendRequestTimeStamp", 0)
        .reloadable()
        .honoured("Sends are refused until this time, in milliseconds since 1970."),
    Key::bool("brokerFastFailureEnable", true)
        .reloadable()
        .honoured("Requests that waited too long before they were looked at are refused."),
    Key::long("waitTimeMillsInSendQueue", 200)
        .reloadable()
        .positive()
        .honoured("Milliseconds after which that happens to a send."),
    Key::long("waitTimeMillsInPullQueue", 5_000)
        .reloadable()
        .positive()
        .honoured("Milliseconds after which it happens to a request that reads."),
    Key::bool("traceOn", true).reloadable().honoured("Tells producers that they may send traces."),
    Key::long("waitTimeMillsInLitePullQueue", 5000).irrelevant(NO_WAITING),
    Key::long("waitTimeMillsInHeartbeatQueue", 31_000).irrelevant(NO_WAITING),
    Key::long("waitTimeMillsInAdminBrokerQueue", 5000).irrelevant(NO_WAITING),
    Key::long("waitTimeMillsInTransactionQueue", 3000).tunes(Feature::Transactions),
    Key::long("waitTimeMillsInAckQueue", 3000).tunes(Feature::Pop),
    // Pulls and consumers.
    Key::bool("longPollingEnable", true)
        .reloadable()
        .honoured("A pull without messages is held as long as the consumer allows."),
    Key::long("shortPollingTimeMills", 1000)
        .reloadable()
        .positive()
        .honoured("Milliseconds a pull is held when longPollingEnable is false."),
    Key::bool("litePullMessageEnable", true).reloadable().honoured("Lite pull consumers are served."),
    Key::bool("rejectPullConsumerEnable", false)
        .reloadable()
        .honoured("Pull consumers that did not register are refused."),
    Key::bool("notifyConsumerIdsChangedEnable", true)
        .reloadable()
        .honoured("Consumers are told when members of their group come or go."),
    Key::bool("realTimeNotifyConsumerChange", true).irrelevant(TOLD_AT_ONCE),
    Key::long("channelExpiredTimeout", 120_000)
        .positive()
        .honoured("Milliseconds without a heartbeat after which a client counts as gone."),
    Key::int("flushConsumerOffsetInterval", 5000)
        .positive()
        .honoured("Milliseconds between two writes of the consumer offsets."),
    Key::long("consumerOffsetUpdateVersionStep", 500).irrelevant(OWN_LIMITS),
    Key::int("flushConsumerOffsetHistoryInterval", 60_000).irrelevant(UNUSED_IN_JAVA),
    Key::bool("enableNetWorkFlowControl", false).irrelevant(NEVER_DROPPED),
    Key::bool("disableConsumeIfConsumerReadSlowly", false).tunes(Feature::SlowConsumerGuard),
    Key::long("consumerFallbehindThreshold", 17_179_869_184).tunes(Feature::SlowConsumerGuard),
    Key::bool("useServerSideResetOffset", true).tunes(Feature::OffsetReset),
    Key::bool("serverLoadBalancerEnable", true).tunes(Feature::ServerSideAssignment),
    Key::long("loadBalancePollNameServerInterval", 30_000).tunes(Feature::ServerSideAssignment),
    Key::choice("defaultMessageRequestMode", &["PULL", "POP"]).tunes(Feature::ServerSideAssignment),
    Key::int("defaultPopShareQueueNum", -1).tunes(Feature::ServerSideAssignment),
    // Safety and security that is not there yet.
    Key::bool("aclEnable", false)
        .important()
        .unsupported("every request is checked against the accounts and permissions of plain_acl.yml"),
    Key::bool("enableControllerMode", false)
        .unsupported("a controller elects the master of this group and fences the others"),
    Key::bool("enableSlaveActingMaster", false)
        .unsupported("a slave takes over when the master of its group is gone"),
    Key::text("configManagerVersion", "v1")
        .unsupported("topics, groups and offsets are kept in RocksDB instead of the JSON files"),
    Key::text("messageStorePlugIn", "")
        .unsupported("another message store, for example tiered storage, holds the messages"),
    // Features that are not there yet.
    Key::bool("rejectTransactionMessage", false).important().tunes(Feature::Transactions),
    Key::bool("enableRegisterProducer", true).tunes(Feature::Transactions),
    Key::long("transactionTimeOut", 6000).important().tunes(Feature::Transactions),
    Key::int("transactionCheckMax", 15).important().tunes(Feature::Transactions),
    Key::long("transactionCheckInterval", 30_000).important().tunes(Feature::Transactions),
    Key::int("transactionOpMsgMaxSize", 4096).tunes(Feature::Transactions),
    Key::int("transactionOpBatchInterval", 3000).tunes(Feature::Transactions),
    Key::long("transactionMetricFlushInterval", 10_000).tunes(Feature::Transactions),
    Key::int("transactionCheckRocksdbCoreThreads", 2).tunes(Feature::Transactions),
    Key::int("transactionCheckRocksdbMaxThreads", 5).tunes(Feature::Transactions),
    Key::int("transactionCheckRocksdbQueueCapacity", 2000).tunes(Feature::Transactions),
    Key::bool("enablePropertyFilter", false).tunes(Feature::Sql92),
    Key::bool("filterSupportRetry", false).tunes(Feature::Sql92),
    Key::bool("enableCalcFilterBitMap", false).tunes(Feature::Sql92),
    Key::int("expectConsumerNumUseFilter", 32).tunes(Feature::Sql92),
    Key::int("maxErrorRateOfBloomFilter", 20).tunes(Feature::Sql92),
    Key::long("filterDataCleanTimeSpan", 86_400_000).tunes(Feature::Sql92),
    Key::bool("recallMessageEnable", false).tunes(Feature::Recall),
    Key::bool("allowRecallWhenBrokerNotWriteable", true).tunes(Feature::Recall),
    Key::bool("storeReplyMessageEnable", true).tunes(Feature::RequestReply),
    Key::long("delayOffsetUpdateVersionStep", 200).tunes(Feature::DelayedMessages),
    Key::int("popPollingSize", 1024).tunes(Feature::Pop),
    Key::int("popPollingMapSize", 100_000).tunes(Feature::Pop),
    Key::long("maxPopPollingSize", 100_000).tunes(Feature::Pop),
    Key::int("popPollingMapExpireTimeSeconds", 600).tunes(Feature::Pop),
    Key::long("popLongPollingForceNotifyInterval", 800).tunes(Feature::Pop),
    Key::long("reviveInterval", 1000).tunes(Feature::Pop),
    Key::long("reviveMaxSlow", 3).tunes(Feature::Pop),
    Key::long("reviveScanTime", 10_000).tunes(Feature::Pop),
    Key::bool("enableSkipLongAwaitingAck", false).tunes(Feature::Pop),
    Key::long("reviveAckWaitMs", 180_000).tunes(Feature::Pop),
    Key::bool("initPopOffsetByCheckMsgInMem", true).tunes(Feature::Pop),
    Key::bool("retrieveMessageFromPopRetryTopicV1", true).tunes(Feature::Pop),
    Key::bool("enableRetryTopicV2", false).tunes(Feature::Pop),
    Key::int("popFromRetryProbability", 20).tunes(Feature::Pop),
    Key::int("popFromRetryProbabilityForPriority", 0).tunes(Feature::Pop),
    Key::bool("useSeparateRetryQueue", false).tunes(Feature::Pop),
    Key::bool("priorityOrderAsc", true).tunes(Feature::Pop),
    Key::bool("popResponseReturnActualRetryTopic", false).tunes(Feature::Pop),
    Key::bool("enablePopBufferMerge", false).tunes(Feature::Pop),
    Key::int("popCkStayBufferTime", 10_000).tunes(Feature::Pop),
    Key::int("popCkStayBufferTimeOut", 3000).tunes(Feature::Pop),
    Key::int("popCkMaxBufferSize", 200_000).tunes(Feature::Pop),
    Key::int("popCkOffsetMaxQueueSize", 20_000).tunes(Feature::Pop),
    Key::bool("enablePopBatchAck", false).tunes(Feature::Pop),
    Key::bool("appendAckAsync", false).tunes(Feature::Pop),
    Key::bool("appendCkAsync", false).tunes(Feature::Pop),
    Key::bool("skipWhenCKRePutReachMaxTimes", false).tunes(Feature::Pop),
    Key::long("popInflightMessageThreshold", 10_000).tunes(Feature::Pop),
    Key::bool("enablePopMessageThreshold", false).tunes(Feature::Pop),
    Key::bool("popConsumerKVServiceInit", false).tunes(Feature::Pop),
    Key::bool("popConsumerKVServiceEnable", false).tunes(Feature::Pop),
    Key::bool("popConsumerKVServiceLog", false).tunes(Feature::Pop),
    Key::bool("popConsumerFSServiceInit", true).tunes(Feature::Pop),
    Key::int("popReviveMaxReturnSizePerRead", 16_384).tunes(Feature::Pop),
    Key::int("popReviveMaxAttemptTimes", 16).tunes(Feature::Pop),
    Key::bool("popReviveSkipIfGroupAbsent", true).tunes(Feature::Pop),
    Key::int("popReviveConcurrency", 32).tunes(Feature::Pop),
    Key::bool("enableNotifyAfterPopOrderLockRelease", true).tunes(Feature::Pop),
    Key::long("popOrderLockTimerTickMs", 100).tunes(Feature::Pop),
    Key::int("popOrderLockTimerTicksPerWheel", 512).tunes(Feature::Pop),
    Key::bool("useMessageFilterForNotification", true).tunes(Feature::Pop),
    Key::int("maxMessageFilterNumForNotification", 64).tunes(Feature::Pop),
    Key::bool("enablePopLog", false).tunes(Feature::Pop),
    Key::bool("enableLiteEventMode", true).tunes(Feature::LiteTopics),
    Key::long("liteEventCheckInterval", 10_000).tunes(Feature::LiteTopics),
    Key::long("liteTtlCheckInterval", 120_000).tunes(Feature::LiteTopics),
    Key::long("minLiteTTl", 900_000).tunes(Feature::LiteTopics),
    Key::long("liteSubscriptionCheckInterval", 120_000).tunes(Feature::LiteTopics),
    Key::long("liteSubscriptionCheckTimeoutMills", 180_000).tunes(Feature::LiteTopics),
    Key::long("maxLiteSubscriptionCount", 100_000).tunes(Feature::LiteTopics),
    Key::int("maxClientEventCount", 100).tunes(Feature::LiteTopics),
    Key::bool("enableLitePopLog", false).tunes(Feature::LiteTopics),
    Key::long("liteEventCapacityCacheTtlMs", 5000).tunes(Feature::LiteTopics),
    Key::long("liteEventFullDispatchDelayTime", 10_000).tunes(Feature::LiteTopics),
    Key::long("liteEventFullDispatchDelayTimeForWildcardGroup", 10_000).tunes(Feature::LiteTopics),
    Key::bool("liteLagLatencyCollectEnable", false).tunes(Feature::LiteTopics),
    Key::bool("liteLagLatencyMetricsEnable", false).tunes(Feature::LiteTopics),
    Key::bool("liteLagCountMetricsEnable", false).tunes(Feature::LiteTopics),
    Key::int("liteLagLatencyTopK", 50).tunes(Feature::LiteTopics),
    Key::bool("enableLmqStats", false).tunes(Feature::LightQueues),
    Key::long("forwardTimeout", 3000).tunes(Feature::StaticTopics),
    Key::double("batchDeleteTopicMaxRate", 10.0).tunes(Feature::BatchDelete),
    Key::double("batchDeleteSubscriptionGroupMaxRate", 10.0).tunes(Feature::BatchDelete),
    Key::bool("enableMixedMessageType", false).tunes(Feature::Proxy),
    Key::bool("enableBroadcastOffsetStore", true).tunes(Feature::Proxy),
    Key::long("broadcastOffsetExpireSecond", 120).tunes(Feature::Proxy),
    Key::long("broadcastOffsetExpireMaxSecond", 300).tunes(Feature::Proxy),
    Key::bool("slaveReadEnable", false).tunes(Feature::Replication),
    Key::bool("lockInStrictMode", false).tunes(Feature::Replication),
    Key::int("brokerHeartbeatInterval", 1000).tunes(Feature::Replication),
    Key::long("brokerNotActiveTimeoutMillis", 10_000).tunes(Feature::Replication),
    Key::int("sendHeartbeatTimeoutMillis", 1000).tunes(Feature::Replication),
    Key::bool("compatibleWithOldNameSrv", true).tunes(Feature::Replication),
    Key::bool("skipPreOnline", false).tunes(Feature::Replication),
    Key::bool("enableRemoteEscape", false).tunes(Feature::Replication),
    Key::int("syncBrokerMemberGroupPeriod", 1000).tunes(Feature::Replication),
    Key::int("cleanOfflineBrokerInterval", 30_000).tunes(Feature::Replication),
    Key::text("controllerAddr", "").tunes(Feature::Controller),
    Key::bool("fetchControllerAddrByDnsLookup", false).tunes(Feature::Controller),
    Key::long("syncBrokerMetadataPeriod", 5000).tunes(Feature::Controller),
    Key::long("checkSyncStateSetPeriod", 5000).tunes(Feature::Controller),
    Key::long("syncControllerMetadataPeriod", 10_000).tunes(Feature::Controller),
    Key::long("controllerHeartBeatTimeoutMills", 10_000).tunes(Feature::Controller),
    Key::int("brokerElectionPriority", i32::MAX).tunes(Feature::Controller),
    Key::text("metricsExporterType", "DISABLE").tunes(Feature::Metrics),
    Key::int("metricsPromExporterPort", 5557).tunes(Feature::Metrics),
    Key::text("metricsPromExporterHost", "").tunes(Feature::Metrics),
    Key::text("metricsLabel", "").tunes(Feature::Metrics),
    Key::bool("metricsInDelta", false).tunes(Feature::Metrics),
    Key::text("metricsGrpcExporterTarget", "").tunes(Feature::Metrics),
    Key::text("metricsGrpcExporterHeader", "").tunes(Feature::Metrics),
    Key::long("metricGrpcExporterTimeOutInMills", 3000).tunes(Feature::Metrics),
    Key::long("metricGrpcExporterIntervalInMills", 60_000).tunes(Feature::Metrics),
    Key::long("metricLoggingExporterIntervalInMills", 10_000).tunes(Feature::Metrics),
    Key::int("metricsOtelCardinalityLimit", 50_000).tunes(Feature::Metrics),
    Key::bool("metricsExportBatchSplitEnabled", true).tunes(Feature::Metrics),
    Key::int("metricsExportBatchMaxDataPoints", 1000).tunes(Feature::Metrics),
    Key::int("metricsExportBatchMaxConcurrent", 4).tunes(Feature::Metrics),
    Key::text("metricsExportOtelMemoryMode", "IMMUTABLE_DATA").tunes(Feature::Metrics),
    Key::bool("enableRemotingMetrics", true).tunes(Feature::Metrics),
    Key::bool("enableMessageStoreMetrics", true).tunes(Feature::Metrics),
    Key::bool("enablePopMetrics", true).tunes(Feature::Metrics),
    Key::bool("enableConnectionMetrics", true).tunes(Feature::Metrics),
    Key::bool("enableTransactionMetrics", true).tunes(Feature::Metrics),
    Key::bool("enableStatsMetrics", true).tunes(Feature::Metrics),
    Key::bool("enableRequestMetrics", true).tunes(Feature::Metrics),
    Key::bool("enableLagAndDlqMetrics", true).tunes(Feature::Metrics),
    Key::bool("enableNotifyBeforePopCalculateLag", true).tunes(Feature::Metrics),
    Key::bool("estimateAccumulation", true).tunes(Feature::Metrics),
    Key::bool("useStaticSubscription", false).tunes(Feature::Metrics),
    Key::long("subscriptionExpiredTimeout", 600_000).tunes(Feature::Metrics),
    Key::bool("enableDetailStat", true).tunes(Feature::Statistics),
    Key::bool("autoDeleteUnusedStats", true).tunes(Feature::Statistics),
    Key::int("maxStatsIdleTimeInMinutes", -1).tunes(Feature::Statistics),
    Key::bool("coldCtrStrategyEnable", false).tunes(Feature::ColdReadControl),
    Key::bool("usePIDColdCtrStrategy", true).tunes(Feature::ColdReadControl),
    Key::long("cgColdReadThreshold", 3_145_728).tunes(Feature::ColdReadControl),
    Key::long("globalColdReadThreshold", 104_857_600).tunes(Feature::ColdReadControl),
    Key::bool("useSingleRocksDBForAllConfigs", false).tunes(Feature::RocksDb),
    Key::bool("persistConsumerOffsetIncrementally", false).tunes(Feature::RocksDb),
    // Matters of the Java process.
    Key::int("sendMessageThreadPoolNums", 0).of_host(up_to_4).irrelevant(NO_POOLS),
    Key::int("putMessageFutureThreadPoolNums", 0).of_host(up_to_4).irrelevant(NO_POOLS),
    Key::int("pullMessageThreadPoolNums", 0).of_host(pull_threads).irrelevant(NO_POOLS),
    Key::int("litePullMessageThreadPoolNums", 0).of_host(pull_threads).irrelevant(NO_POOLS),
    Key::int("ackMessageThreadPoolNums", 16).irrelevant(NO_POOLS),
    Key::int("processReplyMessageThreadPoolNums", 0).of_host(pull_threads).irrelevant(NO_POOLS),
    Key::int("queryMessageThreadPoolNums", 0).of_host(query_threads).irrelevant(NO_POOLS),
    Key::int("adminBrokerThreadPoolNums", 16).irrelevant(NO_POOLS),
    Key::int("clientManageThreadPoolNums", 32).irrelevant(NO_POOLS),
    Key::int("consumerManageThreadPoolNums", 32).irrelevant(NO_POOLS),
    Key::int("loadBalanceProcessorThreadPoolNums", 32).irrelevant(NO_POOLS),
    Key::int("heartbeatThreadPoolNums", 0).of_host(up_to_32).irrelevant(NO_POOLS),
    Key::int("recoverThreadPoolNums", 32).irrelevant(NO_POOLS),
    Key::int("endTransactionThreadPoolNums", 0).of_host(end_transaction_threads).irrelevant(NO_POOLS),
    Key::int("sendThreadPoolQueueCapacity", 10_000).irrelevant(NO_POOLS),
    Key::int("putThreadPoolQueueCapacity", 10_000).irrelevant(NO_POOLS),
    Key::int("pullThreadPoolQueueCapacity", 100_000).irrelevant(NO_POOLS),
    Key::int("litePullThreadPoolQueueCapacity", 100_000).irrelevant(NO_POOLS),
    Key::int("ackThreadPoolQueueCapacity", 100_000).irrelevant(NO_POOLS),
    Key::int("replyThreadPoolQueueCapacity", 10_000).irrelevant(NO_POOLS),
    Key::int("queryThreadPoolQueueCapacity", 20_000).irrelevant(NO_POOLS),
    Key::int("clientManagerThreadPoolQueueCapacity", 1_000_000).irrelevant(NO_POOLS),
    Key::int("consumerManagerThreadPoolQueueCapacity", 1_000_000).irrelevant(NO_POOLS),
    Key::int("heartbeatThreadPoolQueueCapacity", 50_000).irrelevant(NO_POOLS),
    Key::int("endTransactionPoolQueueCapacity", 100_000).irrelevant(NO_POOLS),
    Key::int("adminBrokerThreadPoolQueueCapacity", 10_000).irrelevant(NO_POOLS),
    Key::int("loadBalanceThreadPoolQueueCapacity", 100_000).irrelevant(NO_POOLS),
    Key::bool("asyncSendEnable", true).irrelevant(NO_POOLS),
    Key::bool("enableFastChannelEventProcess", false).irrelevant(NO_POOLS),
    Key::bool("recoverConcurrently", false).important().irrelevant(NO_POOLS),
    Key::bool("highSpeedMode", false).irrelevant(JVM),
    Key::bool("transferMsgByHeap", true).irrelevant(JVM),
    Key::bool("accountStatsEnable", true).irrelevant(LOG_ONLY),
    Key::bool("accountStatsPrintZeroValues", true).irrelevant(LOG_ONLY),
    Key::int("commercialBaseCount", 1).irrelevant(LOG_ONLY),
    Key::int("commercialSizePerMsg", 4096).irrelevant(LOG_ONLY),
    Key::bool("printChannelGroups", false).irrelevant(LOG_ONLY),
    Key::int("printChannelGroupsMinNum", 5).irrelevant(LOG_ONLY),
    Key::bool("isolateLogEnable", false).irrelevant(LOG_ONLY),
    Key::bool("isBrokerContainer", false).irrelevant(ONE_BROKER),
    Key::bool("isInBrokerContainer", false).irrelevant(ONE_BROKER),
];
