//! `FunctionService` over gRPC: functions and mappings, for operators.
//!
//! Every change is one transaction that expects what was read before: a function that a mapping uses is not deleted, a
//! stream has at most one mapping to a function. The positions of a new mapping are stored before its definition, so
//! its jobs begin where the stream was when the mapping was created.

use std::fmt;
use std::sync::{Arc, OnceLock};

use anabranch_client::{Absent, Error, LatestPosition, Tables, latest_positions};
use anabranch_proto::function as pb;
use anabranch_proto::function::function_service_server::{FunctionService, FunctionServiceServer};
use anabranch_table::{Expect, Key, KeyRange, Outcome, Refusal, Row, SpaceId, Transaction};
use anabranch_types::{Clock, GroupId, StreamName};
use bytes::Bytes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::function::{Function, FunctionSpec};
use crate::invalid::Invalid;
use crate::mapping::{Mapping, MappingSpec, StartingPosition};
use crate::message;
use crate::rows::{self, CHECKPOINTS, DEFINITIONS, FUNCTIONS, MAPPINGS, MAPPINGS_CHANGED};

/// Rows of one transaction.
const TRANSACTION_ROWS: usize = 100;
/// Attempts of a change that another one came before.
const ATTEMPTS: usize = 10;

/// Functions and mappings in the tables of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Definitions {
    tables: Tables,
    clock: Arc<dyn Clock>,
}

/// The service on a node. `definitions` is empty until the node has begun: gRPC is served before anything else.
pub fn function_service(
    definitions: Arc<OnceLock<Definitions>>,
) -> FunctionServiceServer<ServedFunctions> {
    FunctionServiceServer::new(ServedFunctions(definitions)).max_encoding_message_size(usize::MAX)
}

/// The service, on one node.
#[derive(Clone, Debug)]
pub struct ServedFunctions(Arc<OnceLock<Definitions>>);

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definitions").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl ServedFunctions {
    fn definitions(&self) -> Result<&Definitions, Status> {
        self.0.get().ok_or_else(|| Status::unavailable("the node is about to begin"))
    }
}

/// Where the rows are.
#[derive(Clone, Copy)]
struct Spaces {
    group: GroupId,
    definitions: SpaceId,
    checkpoints: SpaceId,
}

impl Spaces {
    fn definition(&self, key: Bytes) -> Key {
        Key { space: self.definitions, key }
    }

    fn checkpoint(&self, key: Bytes) -> Key {
        Key { space: self.checkpoints, key }
    }
}

/// What the rows of mappings were when they were read.
struct Known {
    mappings: Vec<(MappingSpec, Row)>,
    /// The row that each change of a mapping writes.
    changed: Expect,
}

impl Definitions {
    /// Definitions in the tables of a cluster.
    pub fn new(tables: Tables, clock: Arc<dyn Clock>) -> Self {
        Self { tables, clock }
    }

    async fn spaces(&self) -> Result<Spaces, Status> {
        let group = self.tables.ready_group().await.map_err(status)?;
        let definitions = self.tables.create_space(group, DEFINITIONS).await.map_err(status)?;
        let checkpoints = self.tables.create_space(group, CHECKPOINTS).await.map_err(status)?;
        Ok(Spaces { group, definitions, checkpoints })
    }

    async fn row(&self, spaces: Spaces, key: Bytes) -> Result<Option<Row>, Status> {
        self.tables.get(spaces.group, spaces.definition(key)).await.map_err(absent)
    }

    async fn range(
        &self,
        spaces: Spaces,
        space: SpaceId,
        prefix: &[u8],
    ) -> Result<Vec<(Bytes, Row)>, Status> {
        let keys = KeyRange {
            start: Bytes::copy_from_slice(prefix),
            end: Some(rows::end_of(prefix)),
            descending: false,
        };
        self.tables.all(spaces.group, space, keys).await.map_err(absent)
    }

    async fn known(&self, spaces: Spaces) -> Result<Known, Status> {
        let changed = self.row(spaces, Bytes::from_static(MAPPINGS_CHANGED)).await?;
        let changed = changed.map_or(Expect::Absent, |row| Expect::Version(row.version));
        let stored = self.range(spaces, spaces.definitions, MAPPINGS).await?;
        let read = |(_, row): (Bytes, Row)| {
            let spec = MappingSpec::parse(&row.value).map_err(|error| damaged(&error))?;
            Ok((spec, row))
        };
        let mappings: Result<Vec<_>, Status> = stored.into_iter().map(read).collect();
        Ok(Known { mappings: mappings?, changed })
    }

    /// Says whether the change was made. Otherwise a row was not as expected.
    async fn change(&self, spaces: Spaces, transaction: Transaction) -> Result<bool, Status> {
        match self.tables.transact(spaces.group, transaction).await.map_err(status)? {
            Outcome::Done { .. } => Ok(true),
            Outcome::Failed { .. } => Ok(false),
            Outcome::Refused(refusal @ Refusal::Full { .. }) => {
                Err(Status::resource_exhausted(refusal.to_string()))
            }
            Outcome::Refused(refusal) => Err(Status::invalid_argument(refusal.to_string())),
            Outcome::Created { .. } => Err(Status::internal("an outcome of another request")),
        }
    }

    async fn put_function(&self, function: pb::Function) -> Result<(), Status> {
        let spec = message::function_spec(function);
        Function::check(&spec).map_err(invalid)?;
        let spaces = self.spaces().await?;
        let key = spaces.definition(rows::function_key(&spec.function_name));
        let puts = vec![(key, spec.json().into())];
        self.change(spaces, Transaction { puts, ..Transaction::default() }).await.map(drop)
    }

    async fn delete_function(&self, name: &str) -> Result<(), Status> {
        let spaces = self.spaces().await?;
        let key = spaces.definition(rows::function_key(name));
        for _ in 0..ATTEMPTS {
            let known = self.known(spaces).await?;
            let mut mappings = known.mappings.iter();
            if let Some((user, _)) = mappings.find(|(spec, _)| spec.function_name == name) {
                let (id, stream) = (user.uuid, &user.stream_name);
                let text = format!("function {name} is used by mapping {id} of stream {stream}");
                return Err(Status::failed_precondition(text));
            }
            let Some(row) = self.row(spaces, rows::function_key(name)).await? else {
                return Err(no_function(name));
            };
            let changed = spaces.definition(Bytes::from_static(MAPPINGS_CHANGED));
            let transaction = Transaction {
                checks: vec![(changed, known.changed), (key.clone(), Expect::Version(row.version))],
                deletes: vec![key.clone()],
                ..Transaction::default()
            };
            if self.change(spaces, transaction).await? {
                return Ok(());
            }
        }
        Err(busy())
    }

    async fn functions(&self) -> Result<Vec<FunctionSpec>, Status> {
        let spaces = self.spaces().await?;
        let stored = self.range(spaces, spaces.definitions, FUNCTIONS).await?;
        let specs = stored.into_iter().map(|(_, row)| FunctionSpec::parse(&row.value));
        specs.collect::<Result<_, _>>().map_err(|error| damaged(&error))
    }

    async fn create_mapping(&self, mapping: pb::Mapping) -> Result<MappingSpec, Status> {
        let spec = MappingSpec { uuid: Uuid::new_v4(), ..message::mapping_spec(mapping)? };
        let mapping = Mapping::check(&spec).map_err(invalid)?;
        mapping.check_new(self.clock.now()).map_err(invalid)?;
        let spaces = self.spaces().await?;
        self.check_streams(&mapping).await?;
        let created = self.store_mapping(spaces, &spec, &mapping).await;
        if created.is_err() && mapping.start == StartingPosition::Latest {
            // Nobody will know these rows. After an unknown outcome the definition may be there, and needs them.
            let exists = self.row(spaces, rows::mapping_key(spec.uuid)).await;
            if matches!(exists, Ok(None)) {
                self.delete_checkpoints(spaces, spec.uuid).await?;
            }
        }
        created.map(|()| spec)
    }

    async fn store_mapping(
        &self,
        spaces: Spaces,
        spec: &MappingSpec,
        mapping: &Mapping,
    ) -> Result<(), Status> {
        let function = rows::function_key(&spec.function_name);
        let mut has_positions = mapping.start != StartingPosition::Latest;
        for _ in 0..ATTEMPTS {
            let known = self.known(spaces).await?;
            let same = |(other, _): &&(MappingSpec, Row)| {
                (&other.stream_name, &other.function_name)
                    == (&spec.stream_name, &spec.function_name)
            };
            if let Some((other, _)) = known.mappings.iter().find(same) {
                let (stream, function, id) = (&other.stream_name, &other.function_name, other.uuid);
                let text = format!("stream {stream} has mapping {id} to function {function}");
                return Err(Status::already_exists(text));
            }
            if self.row(spaces, function.clone()).await?.is_none() {
                return Err(no_function(&spec.function_name));
            }
            if !std::mem::replace(&mut has_positions, true) {
                self.store_positions(spaces, mapping).await?;
            }
            let changed = spaces.definition(Bytes::from_static(MAPPINGS_CHANGED));
            let transaction = Transaction {
                checks: vec![
                    (changed.clone(), known.changed),
                    (spaces.definition(function.clone()), Expect::Present),
                ],
                puts: vec![
                    (spaces.definition(rows::mapping_key(spec.uuid)), spec.json().into()),
                    (changed, Bytes::new()),
                ],
                ..Transaction::default()
            };
            if self.change(spaces, transaction).await? {
                return Ok(());
            }
        }
        Err(busy())
    }

    /// Checks that the streams of a mapping exist.
    async fn check_streams(&self, mapping: &Mapping) -> Result<(), Status> {
        let view = self.tables.cluster().newest_view().await.map_err(status)?;
        for stream in std::iter::once(&mapping.stream).chain(&mapping.on_failure) {
            if view.stream(stream).is_none() {
                return Err(no_stream(stream));
            }
        }
        Ok(())
    }

    /// Stores where each shard is now. Records that are put from now on are after these positions.
    async fn store_positions(&self, spaces: Spaces, mapping: &Mapping) -> Result<(), Status> {
        let latest = latest_positions(&**self.tables.cluster(), &mapping.stream).await;
        let latest = latest.map_err(|error| match error == Error::NotFound {
            true => no_stream(&mapping.stream),
            false => status(error),
        })?;
        let position = |LatestPosition { stream, shard, next, is_closed }| {
            let key = rows::checkpoint_key(mapping.id, stream, shard);
            (key, Checkpoint { is_finished: is_closed, ..Checkpoint::at(next) })
        };
        let positions: Vec<_> = latest.into_iter().map(position).collect();
        for chunk in positions.chunks(TRANSACTION_ROWS) {
            let put = |(key, checkpoint): &(Bytes, Checkpoint)| {
                (spaces.checkpoint(key.clone()), checkpoint.encode().into())
            };
            let puts = chunk.iter().map(put).collect();
            self.change(spaces, Transaction { puts, ..Transaction::default() }).await?;
        }
        Ok(())
    }

    async fn update_mapping(&self, mapping: pb::Mapping) -> Result<MappingSpec, Status> {
        let id = message::mapping_id(&mapping.id)?;
        let new = message::mapping_spec(mapping)?;
        let spaces = self.spaces().await?;
        for _ in 0..ATTEMPTS {
            let known = self.known(spaces).await?;
            let mut mappings = known.mappings.into_iter();
            let Some((old, row)) = mappings.find(|(spec, _)| spec.uuid == id) else {
                return Err(no_mapping(id));
            };
            let spec = MappingSpec {
                uuid: id,
                stream_name: old.stream_name,
                function_name: old.function_name,
                starting_position: old.starting_position,
                starting_position_timestamp: old.starting_position_timestamp,
                ..new.clone()
            };
            let checked = Mapping::check(&spec).map_err(invalid)?;
            if let Some(stream) = &checked.on_failure
                && self.tables.cluster().view().stream(stream).is_none()
            {
                return Err(no_stream(stream));
            }
            let key = spaces.definition(rows::mapping_key(id));
            let changed = spaces.definition(Bytes::from_static(MAPPINGS_CHANGED));
            let transaction = Transaction {
                checks: vec![(key.clone(), Expect::Version(row.version))],
                puts: vec![(key, spec.json().into()), (changed, Bytes::new())],
                ..Transaction::default()
            };
            if self.change(spaces, transaction).await? {
                return Ok(spec);
            }
        }
        Err(busy())
    }

    /// A checkpoint is stored only if the mapping exists. So once the definition is gone, no checkpoint comes back.
    async fn delete_mapping(&self, id: &str) -> Result<(), Status> {
        let id = message::mapping_id(id)?;
        let spaces = self.spaces().await?;
        let key = spaces.definition(rows::mapping_key(id));
        let changed = spaces.definition(Bytes::from_static(MAPPINGS_CHANGED));
        let transaction = Transaction {
            checks: vec![(key.clone(), Expect::Present)],
            puts: vec![(changed, Bytes::new())],
            deletes: vec![key],
            ..Transaction::default()
        };
        let existed = self.change(spaces, transaction).await?;
        self.delete_checkpoints(spaces, id).await?;
        if existed { Ok(()) } else { Err(no_mapping(id)) }
    }

    async fn delete_checkpoints(&self, spaces: Spaces, mapping: Uuid) -> Result<(), Status> {
        let stored = self.range(spaces, spaces.checkpoints, &rows::checkpoints_of(mapping)).await?;
        for chunk in stored.chunks(TRANSACTION_ROWS) {
            let deletes = chunk.iter().map(|(key, _)| spaces.checkpoint(key.clone())).collect();
            self.change(spaces, Transaction { deletes, ..Transaction::default() }).await?;
        }
        Ok(())
    }

    async fn mappings(&self) -> Result<Vec<MappingSpec>, Status> {
        let spaces = self.spaces().await?;
        let known = self.known(spaces).await?;
        let mut specs: Vec<_> = known.mappings.into_iter().map(|(spec, _)| spec).collect();
        specs.sort_by(|a, b| {
            let key = |spec: &MappingSpec| (spec.stream_name.clone(), spec.function_name.clone());
            key(a).cmp(&key(b))
        });
        Ok(specs)
    }
}

#[tonic::async_trait]
impl FunctionService for ServedFunctions {
    async fn put_function(
        &self,
        request: Request<pb::PutFunctionRequest>,
    ) -> Result<Response<pb::PutFunctionResponse>, Status> {
        let function = request.into_inner().function.ok_or_else(|| missing("function"))?;
        self.definitions()?.put_function(function).await?;
        Ok(Response::new(pb::PutFunctionResponse {}))
    }

    async fn delete_function(
        &self,
        request: Request<pb::DeleteFunctionRequest>,
    ) -> Result<Response<pb::DeleteFunctionResponse>, Status> {
        self.definitions()?.delete_function(&request.into_inner().name).await?;
        Ok(Response::new(pb::DeleteFunctionResponse {}))
    }

    async fn list_functions(
        &self,
        _request: Request<pb::ListFunctionsRequest>,
    ) -> Result<Response<pb::ListFunctionsResponse>, Status> {
        let functions = self.definitions()?.functions().await?;
        let functions = functions.into_iter().map(message::function).collect();
        Ok(Response::new(pb::ListFunctionsResponse { functions }))
    }

    async fn create_mapping(
        &self,
        request: Request<pb::CreateMappingRequest>,
    ) -> Result<Response<pb::CreateMappingResponse>, Status> {
        let mapping = request.into_inner().mapping.ok_or_else(|| missing("mapping"))?;
        let created = self.definitions()?.create_mapping(mapping).await?;
        let mapping = Some(message::mapping(created));
        Ok(Response::new(pb::CreateMappingResponse { mapping }))
    }

    async fn update_mapping(
        &self,
        request: Request<pb::UpdateMappingRequest>,
    ) -> Result<Response<pb::UpdateMappingResponse>, Status> {
        let mapping = request.into_inner().mapping.ok_or_else(|| missing("mapping"))?;
        let updated = self.definitions()?.update_mapping(mapping).await?;
        let mapping = Some(message::mapping(updated));
        Ok(Response::new(pb::UpdateMappingResponse { mapping }))
    }

    async fn delete_mapping(
        &self,
        request: Request<pb::DeleteMappingRequest>,
    ) -> Result<Response<pb::DeleteMappingResponse>, Status> {
        self.definitions()?.delete_mapping(&request.into_inner().id).await?;
        Ok(Response::new(pb::DeleteMappingResponse {}))
    }

    async fn list_mappings(
        &self,
        _request: Request<pb::ListMappingsRequest>,
    ) -> Result<Response<pb::ListMappingsResponse>, Status> {
        let mappings = self.definitions()?.mappings().await?;
        let mappings = mappings.into_iter().map(message::mapping).collect();
        Ok(Response::new(pb::ListMappingsResponse { mappings }))
    }
}

fn invalid(error: Invalid) -> Status {
    Status::invalid_argument(error.to_string())
}

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("{field}: is required"))
}

fn damaged(error: &Invalid) -> Status {
    Status::internal(format!("a stored definition can't be read: {error}"))
}

fn no_function(name: &str) -> Status {
    Status::not_found(format!("function {name} not found"))
}

fn no_mapping(id: Uuid) -> Status {
    Status::not_found(format!("mapping {id} not found"))
}

fn no_stream(name: &StreamName) -> Status {
    Status::not_found(format!("stream {name} not found"))
}

fn busy() -> Status {
    Status::aborted("other changes came first too often; nothing was done: try again")
}

fn absent(error: Absent) -> Status {
    match error {
        Absent::Space => Status::aborted("the rows of functions are gone"),
        Absent::Failed(error) => status(error),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other errors are of calls on shards, which are not made here"
)]
fn status(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::NotFound => Status::not_found(text),
        Error::Throttled(_) => Status::resource_exhausted(text),
        Error::NoLeader => Status::unavailable(text),
        Error::Invalid(_) => Status::invalid_argument(text),
        Error::Unknown(_) => Status::unknown(text),
        _ => Status::internal(text),
    }
}
