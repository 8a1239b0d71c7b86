//! The server's HTTP API (Twirp in JSON, answers with field names as in the schema), as far as tests need it.

use crate::http;
use crate::server::{KEY, SECRET};
use crate::token::Token;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Calls to one server.
#[derive(Clone, Copy, Debug)]
pub struct Api(SocketAddr);

impl Api {
    /// For the server that listens there.
    pub fn new(address: SocketAddr) -> Self {
        Self(address)
    }

    /// Asks for an agent by name; returns the dispatch id.
    #[track_caller]
    pub fn dispatch(&self, room: &str, agent: &str, metadata: &str) -> String {
        let answer =
            self.agent(room, "CreateDispatch", json!({"room": room, "agentName": agent, "metadata": metadata}));
        answer["id"].as_str().unwrap_or_else(|| panic!("CreateDispatch: {answer}")).into()
    }

    /// The same with attributes.
    #[track_caller]
    pub fn dispatch_with(&self, room: &str, request: Value) -> String {
        let answer = self.agent(room, "CreateDispatch", request);
        answer["id"].as_str().unwrap_or_else(|| panic!("CreateDispatch: {answer}")).into()
    }

    /// Takes a dispatch back.
    #[track_caller]
    pub fn delete_dispatch(&self, room: &str, id: &str) {
        self.agent(room, "DeleteDispatch", json!({"room": room, "dispatchId": id}));
    }

    /// What became of a room's jobs when they were offered: `JS_RUNNING`, or `JS_SUCCESS` for one that a worker ended for
    /// good. This server does not bring the list up to date later; [`crate::Server::job_end`] tells how a job ended.
    #[track_caller]
    pub fn offered(&self, room: &str) -> Vec<String> {
        let answer = self.agent(room, "ListDispatch", json!({"room": room}));
        let list = |value: &Value, key| value[key].as_array().cloned().unwrap_or_default();
        let jobs = list(&answer, "agent_dispatches").into_iter().flat_map(|dispatch| list(&dispatch["state"], "jobs"));
        jobs.filter_map(|job| job["state"]["status"].as_str().map(str::to_owned)).collect()
    }

    /// Participants of a room; none when there is no such room.
    #[track_caller]
    pub fn participants(&self, room: &str) -> Vec<Value> {
        let answer = self.room(room, "ListParticipants", json!({"room": room}));
        answer["participants"].as_array().cloned().unwrap_or_default()
    }

    /// Identities of a room.
    #[track_caller]
    pub fn identities(&self, room: &str) -> Vec<String> {
        self.participants(room).iter().filter_map(|p| p["identity"].as_str().map(str::to_owned)).collect()
    }

    /// Throws a participant out.
    #[track_caller]
    pub fn remove(&self, room: &str, identity: &str) {
        self.room(room, "RemoveParticipant", json!({"room": room, "identity": identity}));
    }

    /// Mutes a track as a moderator does.
    #[track_caller]
    pub fn mute(&self, room: &str, identity: &str, track: &str) {
        self.room(
            room,
            "MutePublishedTrack",
            json!({"room": room, "identity": identity, "track_sid": track, "muted": true}),
        );
    }

    /// Makes a room, with more fields of `CreateRoomRequest`.
    #[track_caller]
    pub fn create_room(&self, room: &str, more: Value) {
        let mut request = more;
        request["name"] = json!(room);
        self.room(room, "CreateRoom", request);
    }

    /// Closes a room.
    #[track_caller]
    pub fn delete_room(&self, room: &str) {
        self.room(room, "DeleteRoom", json!({"room": room}));
    }

    /// Names of all rooms.
    #[track_caller]
    pub fn rooms(&self) -> Vec<String> {
        let answer = self.room("", "ListRooms", json!({}));
        let rooms = answer["rooms"].as_array().cloned().unwrap_or_default();
        rooms.iter().filter_map(|room| room["name"].as_str().map(str::to_owned)).collect()
    }

    #[track_caller]
    fn agent(&self, room: &str, method: &str, request: Value) -> Value {
        self.call(room, &format!("AgentDispatchService/{method}"), &request)
    }

    #[track_caller]
    fn room(&self, room: &str, method: &str, request: Value) -> Value {
        self.call(room, &format!("RoomService/{method}"), &request)
    }

    #[track_caller]
    fn call(&self, room: &str, method: &str, request: &Value) -> Value {
        let bearer = Token::admin(room).sign(KEY, SECRET);
        let answer = http::post(self.0, &format!("/twirp/livekit.{method}"), &bearer, &request.to_string());
        let answer = answer.unwrap_or_else(|error| panic!("{method}: {error}"));
        // A room that is not there has nothing in it; every other refusal is a fault of the test.
        if answer.status == 404 {
            return Value::Null;
        }
        assert_eq!(answer.status, 200, "{method} {request}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("Twirp answers JSON")
    }
}
