//! Keys of Java's `NamesrvConfig`.

use crate::key::{Feature, Key};
use crate::table::reasons::{AT_ONCE, NO_INSTALLATION, NO_POOLS, TEST_MODE};
use crate::table::{kv_config_path, namesrv_config_path};

pub(crate) const KEYS: &[Key] = &[
    Key::int("listenPort", 9876).within(0, 65_535).honoured("Port for brokers and clients."),
    Key::unset("kvConfigPath").of_host(kv_config_path).honoured("File of the key-value settings."),
    Key::unset("configStorePath")
        .of_host(namesrv_config_path)
        .honoured("File that updateNamesrvConfig writes; the file given with -c."),
    Key::text("configBlackList", "configBlackList;configStorePath;kvConfigPath")
        .honoured("Keys that updateNamesrvConfig refuses, separated by semicolons."),
    Key::bool("orderMessageEnable", false)
        .reloadable()
        .honoured("Routes carry the order settings of a topic."),
    Key::bool("returnOrderTopicConfigToBroker", true)
        .reloadable()
        .honoured("Brokers get the order settings when they register."),
    Key::long("scanNotActiveBrokerInterval", 5000)
        .positive()
        .honoured("Milliseconds between two looks for brokers that stopped registering."),
    Key::bool("supportActingMaster", false)
        .reloadable()
        .honoured("Routes show the first slave as master while a group has none."),
    Key::bool("enableAllTopicList", true).reloadable().honoured("The list of all topics is served."),
    Key::bool("enableTopicList", true)
        .reloadable()
        .honoured("Lists of topics by cluster or kind are served."),
    Key::bool("notifyMinBrokerIdChanged", false)
        .reloadable()
        .honoured("Brokers are told when the smallest id of their group changes."),
    Key::bool("needWaitForService", false)
        .reloadable()
        .honoured("No routes until the server has been up for waitSecondsForService."),
    Key::int("waitSecondsForService", 45)
        .reloadable()
        .not_negative()
        .honoured("Seconds until brokers had the time to register."),
    Key::bool("deleteTopicWithBrokerRegistration", false)
        .reloadable()
        .honoured("Topics that a full registration no longer names are dropped."),
    Key::bool("enableControllerInNamesrv", false)
        .unsupported("a controller runs in this process and elects masters"),
    Key::unset("rocketmqHome").alias(&["rocketmq.home.dir"]).env("ROCKETMQ_HOME").irrelevant(NO_INSTALLATION),
    Key::int("unRegisterBrokerQueueCapacity", 3000).irrelevant(AT_ONCE),
    Key::int("clientRequestThreadPoolNums", 8).irrelevant(NO_POOLS),
    Key::int("clientRequestThreadPoolQueueCapacity", 50_000).irrelevant(NO_POOLS),
    Key::int("defaultThreadPoolNums", 16).irrelevant(NO_POOLS),
    Key::int("defaultThreadPoolQueueCapacity", 10_000).irrelevant(NO_POOLS),
    Key::bool("clusterTest", false).irrelevant(TEST_MODE),
    Key::text("productEnvName", "center").irrelevant(TEST_MODE),
];

/// Of the controller inside a name server: in the files of such name servers even when it is off.
pub(crate) const CONTROLLER: &[Key] = &[
    Key::choice("controllerType", &["DLedger", "jRaft"]).tunes(Feature::Controller),
    Key::unset("controllerDLegerGroup").tunes(Feature::Controller),
    Key::unset("controllerDLegerPeers").tunes(Feature::Controller),
    Key::unset("controllerDLegerSelfId").tunes(Feature::Controller),
    Key::text("controllerStorePath", "").tunes(Feature::Controller),
    Key::int("electMasterMaxRetryCount", 3).tunes(Feature::Controller),
    Key::bool("enableElectUncleanMaster", false).tunes(Feature::Controller),
    Key::bool("notifyBrokerRoleChanged", true).tunes(Feature::Controller),
    Key::long("scanInactiveMasterInterval", 5_000).tunes(Feature::Controller),
    Key::int("controllerThreadPoolNums", 16).tunes(Feature::Controller),
    Key::int("controllerRequestThreadPoolQueueCapacity", 50_000).tunes(Feature::Controller),
    Key::int("mappedFileSize", 1_073_741_824).tunes(Feature::Controller),
    Key::bool("isProcessReadEvent", false).tunes(Feature::Controller),
    Key::int("jRaftElectionTimeoutMs", 1_000).tunes(Feature::Controller),
    Key::int("jRaftScanWaitTimeoutMs", 1_000).tunes(Feature::Controller),
    Key::int("jRaftSnapshotIntervalSecs", 3_600).tunes(Feature::Controller),
    Key::text("jRaftGroupId", "jRaft-Controller").tunes(Feature::Controller),
    Key::text("jRaftServerId", "localhost:9880").tunes(Feature::Controller),
    Key::text("jRaftInitConf", "localhost:9880,localhost:9881,localhost:9882").tunes(Feature::Controller),
    Key::text("jRaftControllerRPCAddr", "localhost:9770,localhost:9771,localhost:9772")
        .tunes(Feature::Controller),
];
