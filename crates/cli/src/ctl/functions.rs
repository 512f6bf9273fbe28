//! `ctl function` and `ctl mapping`: functions, and the mappings that invoke them with the records of streams.

use std::collections::BTreeSet;
use std::time::Duration;

use anabranch_proto::function as pb;
use anabranch_types::StreamName;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::ctl::admin::{Functions, request, response};
use crate::ctl::output::{Output, word};

/// Commands about functions.
#[derive(Debug, clap::Subcommand)]
pub(super) enum FunctionCommand {
    /// Registers a function, or replaces it
    Put {
        /// Name of the function
        name: String,
        /// Where events are posted: http:// or https://
        #[arg(long)]
        url: String,
        /// Longest time of an invocation in seconds: 1 to 900
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        timeout: u32,
        /// A header of each invocation, NAME=VALUE; may be given several times
        #[arg(long, value_name = "NAME=VALUE")]
        header: Vec<String>,
    },
    /// Functions, with their addresses
    List,
    /// Removes a function that no mapping uses
    Delete {
        /// Name of the function
        name: String,
    },
}

/// Commands about mappings.
#[derive(Debug, clap::Subcommand)]
pub(super) enum MappingCommand {
    /// Begins to invoke a function with the records of a stream
    Create {
        /// The stream
        #[arg(long)]
        stream: StreamName,
        /// Name of the function
        #[arg(long)]
        function: String,
        /// Where to begin: trim-horizon, latest, or a time in seconds since 1970
        #[arg(long, value_name = "POSITION", default_value = "latest")]
        start: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Mappings, with their settings
    List,
    /// Changes the settings that are given; the mapping goes on where it was
    Update {
        /// Id of the mapping
        id: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Ends a mapping and forgets where it was
    Delete {
        /// Id of the mapping
        id: String,
    },
}

/// Settings of a mapping, with the names and limits of AWS Lambda.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// Most records of an invocation: 1 to 10000; 100 if not given
    #[arg(long, value_name = "RECORDS")]
    batch_size: Option<u32>,
    /// Longest time in which records are gathered, in seconds: 0 to 300
    #[arg(long, value_name = "SECONDS")]
    batch_window: Option<u32>,
    /// Most invocations at a time for each shard: 1 to 10
    #[arg(long, value_name = "NUMBER")]
    parallelization_factor: Option<u32>,
    /// Cuts a batch that fails in two
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    bisect_on_error: Option<bool>,
    /// How often a batch that failed is tried again: 0 to 10000, or -1 for until its records expire
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    maximum_retry_attempts: Option<i32>,
    /// Records older than this are discarded, in seconds: 60 to 604800, or -1 for never
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    maximum_record_age: Option<i32>,
    /// Stream that gets a document about each batch that is discarded; empty for none
    #[arg(long, value_name = "STREAM")]
    on_failure: Option<String>,
    /// The function says which records failed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    report_batch_item_failures: Option<bool>,
    /// Length of tumbling windows in seconds: 0 to 900
    #[arg(long, value_name = "SECONDS")]
    tumbling_window: Option<u32>,
    /// A pattern; a record must match one of those that are given; an empty one removes them
    #[arg(long, value_name = "JSON")]
    filter: Vec<String>,
    /// Whether the function is invoked
    #[arg(long, value_name = "BOOL")]
    enabled: Option<bool>,
}

impl Settings {
    /// Changes what is given.
    fn apply(self, mapping: &mut pb::Mapping) -> Result<()> {
        let set = |to: &mut u32, value: Option<u32>| *to = value.unwrap_or(*to);
        set(&mut mapping.batch_size, self.batch_size);
        set(&mut mapping.parallelization_factor, self.parallelization_factor);
        set(&mut mapping.tumbling_window_seconds, self.tumbling_window);
        if let Some(seconds) = self.batch_window {
            mapping.batch_window_millis = u64::from(seconds) * 1000;
        }
        if let Some(attempts) = self.maximum_retry_attempts {
            mapping.maximum_retry_attempts =
                unless_minus_one(attempts, "--maximum-retry-attempts")?;
        }
        if let Some(seconds) = self.maximum_record_age {
            mapping.maximum_record_age_seconds = unless_minus_one(seconds, "--maximum-record-age")?;
        }
        let flag = |to: &mut bool, value: Option<bool>| *to = value.unwrap_or(*to);
        flag(&mut mapping.bisect_on_error, self.bisect_on_error);
        flag(&mut mapping.report_batch_item_failures, self.report_batch_item_failures);
        flag(&mut mapping.enabled, self.enabled);
        if let Some(stream) = self.on_failure {
            mapping.on_failure_stream = stream;
        }
        if !self.filter.is_empty() {
            // An empty pattern alone removes the filters.
            mapping.filters = self.filter.into_iter().filter(|text| !text.is_empty()).collect();
        }
        Ok(())
    }
}

fn unless_minus_one(number: i32, argument: &str) -> Result<Option<u32>> {
    match number {
        -1 => Ok(None),
        number => Ok(Some(u32::try_from(number).with_context(|| argument.to_owned())?)),
    }
}

pub(super) async fn function(client: &mut Functions, command: FunctionCommand) -> Result<Output> {
    Ok(match command {
        FunctionCommand::Put { name, url, timeout, header } => {
            let pair = |text: &String| {
                let (name, value) = text.split_once('=').context("--header: NAME=VALUE")?;
                Ok((name.to_owned(), value.to_owned()))
            };
            let function = pb::Function {
                name: name.clone(),
                url,
                timeout_seconds: timeout,
                headers: header.iter().map(pair).collect::<Result<_>>()?,
            };
            let put = pb::PutFunctionRequest { function: Some(function) };
            response(client.put_function(request(put)).await)?;
            Output::line(format!("function {name} is stored"), json!({ "stored": name }))
        }
        FunctionCommand::List => {
            let list = request(pb::ListFunctionsRequest {});
            functions(&response(client.list_functions(list).await)?.functions)
        }
        FunctionCommand::Delete { name } => {
            let delete = pb::DeleteFunctionRequest { name: name.clone() };
            response(client.delete_function(request(delete)).await)?;
            Output::line(format!("function {name} is deleted"), json!({ "deleted": name }))
        }
    })
}

pub(super) async fn mapping(client: &mut Functions, command: MappingCommand) -> Result<Output> {
    Ok(match command {
        MappingCommand::Create { stream, function, start, settings } => {
            let (position, seconds) = match &*start {
                "trim-horizon" => (pb::StartingPosition::TrimHorizon, 0.0),
                "latest" => (pb::StartingPosition::Latest, 0.0),
                time => {
                    let rule = "--start: trim-horizon, latest, or seconds since 1970";
                    (pb::StartingPosition::AtTimestamp, time.parse().context(rule)?)
                }
            };
            let since_1970 = Duration::try_from_secs_f64(seconds).context("--start")?;
            let mut mapping = pb::Mapping {
                stream: stream.to_string(),
                function,
                starting_position: position.into(),
                starting_timestamp_millis: u64::try_from(since_1970.as_millis())?,
                enabled: true,
                ..pb::Mapping::default()
            };
            settings.apply(&mut mapping)?;
            let create = pb::CreateMappingRequest { mapping: Some(mapping) };
            let created = response(client.create_mapping(request(create)).await)?.mapping;
            mappings(&[created.context("a response without a mapping")?])
        }
        MappingCommand::List => mappings(&all(client).await?),
        MappingCommand::Update { id, settings } => {
            let found = all(client).await?.into_iter().find(|mapping| mapping.id == id);
            let mut mapping = found.with_context(|| format!("mapping {id} not found"))?;
            settings.apply(&mut mapping)?;
            let update = pb::UpdateMappingRequest { mapping: Some(mapping) };
            let updated = response(client.update_mapping(request(update)).await)?.mapping;
            mappings(&[updated.context("a response without a mapping")?])
        }
        MappingCommand::Delete { id } => {
            let delete = pb::DeleteMappingRequest { id: id.clone() };
            response(client.delete_mapping(request(delete)).await)?;
            Output::line(format!("mapping {id} is deleted"), json!({ "deleted": id }))
        }
    })
}

async fn all(client: &mut Functions) -> Result<Vec<pb::Mapping>> {
    let list = request(pb::ListMappingsRequest {});
    Ok(response(client.list_mappings(list).await)?.mappings)
}

fn functions(functions: &[pb::Function]) -> Output {
    let text = |function: &pb::Function| {
        format!("{}: {}, at most {} s", function.name, function.url, function.timeout_seconds)
    };
    let row = |function: &pb::Function| {
        json!({
            "name": function.name, "url": function.url, "timeout_seconds": function.timeout_seconds,
            "headers": function.headers.keys().collect::<BTreeSet<_>>(),
        })
    };
    let mut lines: Vec<_> = functions.iter().map(text).collect();
    if lines.is_empty() {
        lines.push("there are no functions".into());
    }
    Output { lines, json: functions.iter().map(row).collect() }
}

fn mappings(mappings: &[pb::Mapping]) -> Output {
    let text = |mapping: &pb::Mapping| {
        let pb::Mapping { id, stream, function, batch_size, .. } = mapping;
        let state = if mapping.enabled { "enabled" } else { "disabled" };
        format!("{id}: {stream} to {function}, {state}, batches of {batch_size}")
    };
    let mut lines: Vec<_> = mappings.iter().map(text).collect();
    if lines.is_empty() {
        lines.push("there are no mappings".into());
    }
    Output { lines, json: mappings.iter().map(mapping_json).collect() }
}

fn mapping_json(mapping: &pb::Mapping) -> Value {
    let start = word(mapping.starting_position().as_str_name(), "STARTING_POSITION_");
    json!({
        "id": mapping.id, "stream": mapping.stream, "function": mapping.function,
        "enabled": mapping.enabled, "starting_position": start,
        "starting_timestamp_millis": (mapping.starting_timestamp_millis != 0)
            .then_some(mapping.starting_timestamp_millis),
        "batch_size": mapping.batch_size, "batch_window_millis": mapping.batch_window_millis,
        "parallelization_factor": mapping.parallelization_factor,
        "bisect_on_error": mapping.bisect_on_error,
        "maximum_retry_attempts": mapping.maximum_retry_attempts,
        "maximum_record_age_seconds": mapping.maximum_record_age_seconds,
        "on_failure_stream": (!mapping.on_failure_stream.is_empty())
            .then_some(&mapping.on_failure_stream),
        "report_batch_item_failures": mapping.report_batch_item_failures,
        "tumbling_window_seconds": mapping.tumbling_window_seconds,
        "filters": mapping.filters,
    })
}
