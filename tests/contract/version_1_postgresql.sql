CREATE SCHEMA analytics_sdk;
CREATE TABLE analytics_sdk.analytics_sdk_schema (
 version INTEGER NOT NULL,
 applied_at_ns BIGINT NOT NULL,
 PRIMARY KEY (version)
);
CREATE TABLE analytics_sdk.executions (
 source INTEGER NOT NULL,
 seq BIGINT NOT NULL,
 execution_id TEXT,
 workflow_id TEXT,
 status TEXT NOT NULL,
 started_at_ns BIGINT NOT NULL,
 ended_at_ns BIGINT,
 duration_ns BIGINT,
 total_steps BIGINT,
 steps_completed BIGINT,
 steps_failed BIGINT,
 steps_recovered BIGINT,
 error_type TEXT,
 error_message TEXT,
 parent_execution_id TEXT,
 parent_step_no BIGINT,
 tags TEXT,
 end_seq BIGINT,
 host TEXT NOT NULL,
 pid BIGINT NOT NULL,
 late SMALLINT DEFAULT 0 NOT NULL,
 last_seq BIGINT,
 PRIMARY KEY (source, seq)
);
CREATE INDEX executions_by_execution_id ON analytics_sdk.executions (execution_id);
CREATE INDEX executions_by_started_at_ns ON analytics_sdk.executions (started_at_ns);
CREATE INDEX executions_by_workflow_id ON analytics_sdk.executions (workflow_id, started_at_ns);
CREATE INDEX executions_late ON analytics_sdk.executions (source, last_seq) WHERE late = 1;
CREATE INDEX executions_running ON analytics_sdk.executions (source, seq) WHERE status = 'running';
CREATE TABLE analytics_sdk.journal_positions (
 source SERIAL NOT NULL,
 journal_id TEXT NOT NULL,
 position BIGINT DEFAULT 0 NOT NULL,
 rollup_position BIGINT DEFAULT 0 NOT NULL,
 settled SMALLINT DEFAULT 0 NOT NULL,
 host TEXT NOT NULL,
 pid BIGINT NOT NULL,
 machine_id TEXT NOT NULL,
 boot_id TEXT NOT NULL,
 started_at_ns BIGINT NOT NULL,
 PRIMARY KEY (source),
 UNIQUE (journal_id)
);
CREATE TABLE analytics_sdk.losses (
 source INTEGER NOT NULL,
 kind TEXT NOT NULL,
 reason TEXT NOT NULL,
 n BIGINT NOT NULL,
 first_at_ns BIGINT NOT NULL,
 last_at_ns BIGINT NOT NULL,
 PRIMARY KEY (source, kind, reason)
);
CREATE TABLE analytics_sdk.recoveries (
 source INTEGER NOT NULL,
 seq BIGINT NOT NULL,
 execution_id TEXT,
 workflow_id TEXT,
 step_no BIGINT,
 node_id TEXT,
 strategy TEXT NOT NULL,
 success BOOLEAN NOT NULL,
 started_at_ns BIGINT NOT NULL,
 duration_ns BIGINT,
 error_message TEXT,
 tags TEXT,
 PRIMARY KEY (source, seq)
);
CREATE INDEX recoveries_by_started_at_ns ON analytics_sdk.recoveries (started_at_ns);
CREATE TABLE analytics_sdk.resource_samples (
 source INTEGER NOT NULL,
 seq BIGINT NOT NULL,
 at_ns BIGINT NOT NULL,
 cpu_percent DOUBLE PRECISION,
 rss_bytes BIGINT,
 read_bytes BIGINT,
 written_bytes BIGINT,
 host_cpu_percent DOUBLE PRECISION,
 host_memory_used_bytes BIGINT,
 host_memory_total_bytes BIGINT,
 gpus TEXT,
 host TEXT NOT NULL,
 pid BIGINT NOT NULL,
 PRIMARY KEY (source, seq)
);
CREATE INDEX resource_samples_by_host ON analytics_sdk.resource_samples (host, at_ns);
CREATE TABLE analytics_sdk.rollups (
 workflow_id TEXT NOT NULL,
 level TEXT NOT NULL,
 bucket_start_ns BIGINT NOT NULL,
 source INTEGER NOT NULL,
 cells BYTEA NOT NULL,
 PRIMARY KEY (workflow_id, level, bucket_start_ns, source)
);
CREATE TABLE analytics_sdk.steps (
 source INTEGER NOT NULL,
 seq BIGINT NOT NULL,
 execution_id TEXT,
 workflow_id TEXT,
 step_no BIGINT,
 parent_step_no BIGINT,
 node_id TEXT,
 action_type TEXT,
 status TEXT NOT NULL,
 started_at_ns BIGINT NOT NULL,
 ended_at_ns BIGINT,
 duration_ns BIGINT,
 error_type TEXT,
 error_message TEXT,
 tags TEXT,
 end_seq BIGINT,
 first_status TEXT,
 heal_seq BIGINT,
 late SMALLINT DEFAULT 0 NOT NULL,
 last_seq BIGINT,
 PRIMARY KEY (source, seq)
);
CREATE INDEX steps_by_started_at_ns ON analytics_sdk.steps (started_at_ns, workflow_id, node_id, status, duration_ns);
CREATE INDEX steps_late ON analytics_sdk.steps (source, last_seq) WHERE late = 1;
CREATE INDEX steps_running ON analytics_sdk.steps (source, seq) WHERE status = 'running';
INSERT INTO analytics_sdk.analytics_sdk_schema (version, applied_at_ns) VALUES (1, 1);
