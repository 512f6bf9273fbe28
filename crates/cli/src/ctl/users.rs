//! Users, their access keys and their policies: the calls and their output.
//!
//! A secret is printed once, in the output of the call that made it. The cluster stores it sealed and never returns
//! it again.

use std::io::Read;
use std::path::{Path, PathBuf};

use anabranch_proto::admin as pb;
use anabranch_types::{AccountId, UserName};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::ctl::admin::{Admin, request, response};
use crate::ctl::output::Output;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum UserCommand {
    /// Creates a user without a key and without permissions; a user named root may do everything
    Create {
        /// 1 to 64 characters of letters, digits and +=,.@_-
        name: UserName,
        /// Account of the user. Default: the account of the cluster
        #[arg(long, value_name = "12 DIGITS")]
        account: Option<AccountId>,
    },
    /// Deletes a user, its keys and its policies; its sessions end
    Delete {
        /// The user
        name: UserName,
    },
    /// Every user
    List,
    /// One user, its keys and its policies
    Show {
        /// The user
        name: UserName,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes an access key and shows its secret, only this once
    Create {
        /// The user
        user: UserName,
    },
    /// Access keys, of one user or of all
    List {
        /// The user
        user: Option<UserName>,
    },
    /// Enables a key: requests signed with it are accepted
    Enable {
        /// The access key id
        id: String,
    },
    /// Disables a key: requests signed with it are refused
    Disable {
        /// The access key id
        id: String,
    },
    /// Deletes an access key
    Delete {
        /// The access key id
        id: String,
    },
    /// Makes temporary credentials of a user
    Session {
        /// The user
        user: UserName,
        /// How long the credentials are valid: 900 to 43200
        #[arg(long, default_value_t = 3600)]
        seconds: u32,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum PolicyCommand {
    /// Attaches a policy to a user; replaces the policy of the same name
    Put {
        /// The user
        user: UserName,
        /// Name of the policy
        name: String,
        /// File with the policy document, - for stdin
        file: PathBuf,
    },
    /// Prints a policy as it was put
    Get {
        /// The user
        user: UserName,
        /// Name of the policy
        name: String,
    },
    /// Removes a policy from a user
    Delete {
        /// The user
        user: UserName,
        /// Name of the policy
        name: String,
    },
    /// Names of a user's policies
    List {
        /// The user
        user: UserName,
    },
}

pub(super) async fn user(admin: &mut Admin, command: UserCommand) -> Result<Output> {
    Ok(match command {
        UserCommand::Create { name, account } => {
            let account = account.map(|account| account.to_string()).unwrap_or_default();
            let asked = request(pb::CreateUserRequest { name: name.to_string(), account });
            let created = response(admin.create_user(asked).await)?.user;
            created_user(&created.context("a response without a user")?)
        }
        UserCommand::Delete { name } => {
            let asked = request(pb::DeleteUserRequest { name: name.to_string() });
            response(admin.delete_user(asked).await)?;
            let json = json!({ "deleted": name.as_str() });
            Output::line(format!("user {name} is deleted, with its keys and policies"), json)
        }
        UserCommand::List => list(&all(admin).await?),
        UserCommand::Show { name } => show(&describe(admin, &name).await?),
    })
}

pub(super) async fn key(admin: &mut Admin, command: KeyCommand) -> Result<Output> {
    Ok(match command {
        KeyCommand::Create { user } => {
            let asked = request(pb::CreateAccessKeyRequest { user: user.to_string() });
            created_key(&user, &response(admin.create_access_key(asked).await)?)
        }
        KeyCommand::List { user: Some(user) } => keys(&[describe(admin, &user).await?]),
        KeyCommand::List { user: None } => keys(&all(admin).await?),
        KeyCommand::Enable { id } => set_key(admin, id, true).await?,
        KeyCommand::Disable { id } => set_key(admin, id, false).await?,
        KeyCommand::Delete { id } => {
            let asked = request(pb::DeleteAccessKeyRequest { id: id.clone() });
            response(admin.delete_access_key(asked).await)?;
            Output::line(format!("access key {id} is deleted"), json!({ "deleted": id }))
        }
        KeyCommand::Session { user, seconds } => {
            let asked = request(pb::CreateSessionRequest { user: user.to_string(), seconds });
            created_session(&user, seconds, &response(admin.create_session(asked).await)?)
        }
    })
}

pub(super) async fn policy(admin: &mut Admin, command: PolicyCommand) -> Result<Output> {
    Ok(match command {
        PolicyCommand::Put { user, name, file } => {
            let document = read(&file)?;
            let asked =
                pb::PutUserPolicyRequest { user: user.to_string(), name: name.clone(), document };
            response(admin.put_user_policy(request(asked)).await)?;
            let json = json!({ "user": user.as_str(), "policy": name });
            Output::line(format!("user {user} has the policy {name}"), json)
        }
        PolicyCommand::Get { user, name } => {
            let asked = pb::GetUserPolicyRequest { user: user.to_string(), name: name.clone() };
            let document = response(admin.get_user_policy(request(asked)).await)?.document;
            let json = json!({ "user": user.as_str(), "policy": name, "document": document });
            Output { lines: document.lines().map(str::to_owned).collect(), json }
        }
        PolicyCommand::Delete { user, name } => {
            let asked = pb::DeleteUserPolicyRequest { user: user.to_string(), name: name.clone() };
            response(admin.delete_user_policy(request(asked)).await)?;
            let json = json!({ "user": user.as_str(), "deleted": name });
            Output::line(format!("user {user} has the policy {name} no more"), json)
        }
        PolicyCommand::List { user } => {
            let policies = describe(admin, &user).await?.policies;
            let json = json!({ "user": user.as_str(), "policies": policies });
            Output { lines: policies, json }
        }
    })
}

async fn set_key(admin: &mut Admin, id: String, enabled: bool) -> Result<Output> {
    let asked = request(pb::SetAccessKeyRequest { id: id.clone(), enabled });
    response(admin.set_access_key(asked).await)?;
    let line = format!("access key {id} is {}", state(enabled));
    Ok(Output::line(line, json!({ "access_key_id": id, "enabled": enabled })))
}

async fn describe(admin: &mut Admin, name: &UserName) -> Result<pb::User> {
    let asked = request(pb::DescribeUserRequest { name: name.to_string() });
    response(admin.describe_user(asked).await)?.user.context("a response without a user")
}

async fn all(admin: &mut Admin) -> Result<Vec<pb::User>> {
    let (mut users, mut next) = (Vec::new(), Some(String::new()));
    while let Some(start_after) = next {
        let asked = request(pb::ListUsersRequest { start_after, limit: 0 });
        let page = response(admin.list_users(asked).await)?;
        users.extend(page.users);
        next = page.next_start_after;
    }
    Ok(users)
}

fn read(file: &Path) -> Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file).with_context(|| file.display().to_string());
    }
    let mut document = String::new();
    std::io::stdin().read_to_string(&mut document).context("stdin")?;
    Ok(document)
}

fn created_user(user: &pb::User) -> Output {
    let may = match user.name.as_str() {
        UserName::ROOT => "It may do everything",
        _ => "It may do nothing yet: give it a policy with `anabranch ctl policy put`",
    };
    let lines = vec![
        format!("user {} of account {} is created", user.name, user.account),
        format!("{may}, and a key with `anabranch ctl key create {}`", user.name),
    ];
    Output { lines, json: json_of(user) }
}

fn list(users: &[pb::User]) -> Output {
    let line = |user: &pb::User| {
        format!(
            "{}  account {}  {} keys  {} policies",
            user.name,
            user.account,
            user.keys.len(),
            user.policies.len()
        )
    };
    let lines = users.iter().map(line).collect();
    Output { lines, json: users.iter().map(json_of).collect() }
}

fn show(user: &pb::User) -> Output {
    let mut lines = vec![format!("{}  account {}", user.name, user.account)];
    lines.extend(user.keys.iter().map(|key| format!("  key {}  {}", key.id, state(key.enabled))));
    lines.extend(user.policies.iter().map(|policy| format!("  policy {policy}")));
    Output { lines, json: json_of(user) }
}

fn keys(users: &[pb::User]) -> Output {
    let (mut lines, mut json) = (Vec::new(), Vec::new());
    for user in users {
        for key in &user.keys {
            lines.push(format!("{}  {:<8}  {}", key.id, state(key.enabled), user.name));
            let mut of_user = key_json(key);
            of_user["user"] = json!(user.name);
            json.push(of_user);
        }
    }
    Output { lines, json: json.into() }
}

/// A shell can run the lines; the lines with `#` are for the reader.
fn created_key(user: &UserName, key: &pb::CreateAccessKeyResponse) -> Output {
    let lines = vec![
        format!("# Access key of {user}. Its secret is shown this once and stored only sealed."),
        format!("export AWS_ACCESS_KEY_ID={}", key.access_key_id),
        format!("export AWS_SECRET_ACCESS_KEY={}", key.secret_access_key),
        "# Keep both with `aws configure`, or set them in the shell of who uses them.".into(),
    ];
    let json = json!({
        "user": user.as_str(), "access_key_id": key.access_key_id,
        "secret_access_key": key.secret_access_key,
    });
    Output { lines, json }
}

fn created_session(user: &UserName, seconds: u32, session: &pb::CreateSessionResponse) -> Output {
    let lines = vec![
        format!("# Temporary credentials of {user}, good for {seconds} seconds."),
        format!("export AWS_ACCESS_KEY_ID={}", session.access_key_id),
        format!("export AWS_SECRET_ACCESS_KEY={}", session.secret_access_key),
        format!("export AWS_SESSION_TOKEN={}", session.session_token),
    ];
    let json = json!({
        "user": user.as_str(), "access_key_id": session.access_key_id,
        "secret_access_key": session.secret_access_key, "session_token": session.session_token,
        "expires_millis": session.expires_millis,
    });
    Output { lines, json }
}

fn json_of(user: &pb::User) -> Value {
    json!({
        "user": user.name, "account": user.account, "created_millis": user.created_millis,
        "keys": user.keys.iter().map(key_json).collect::<Vec<_>>(), "policies": user.policies,
    })
}

fn key_json(key: &pb::AccessKey) -> Value {
    json!({
        "access_key_id": key.id, "enabled": key.enabled, "created_millis": key.created_millis,
    })
}

fn state(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "disabled" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> pb::User {
        let key = |id: &str, enabled| pb::AccessKey { id: id.into(), enabled, created_millis: 8 };
        pb::User {
            name: "ann".into(),
            account: "123456789012".into(),
            created_millis: 7,
            keys: vec![key("AKIA1", true), key("AKIA2", false)],
            policies: vec!["put-orders".into()],
        }
    }

    #[test]
    fn a_user_is_shown_with_its_keys_and_policies() {
        let output = show(&ann());
        let lines = [
            "ann  account 123456789012",
            "  key AKIA1  enabled",
            "  key AKIA2  disabled",
            "  policy put-orders",
        ];
        assert_eq!(output.lines, lines);
        assert_eq!(output.json["keys"][1]["enabled"], json!(false));
        let listed = list(&[ann()]);
        assert_eq!(listed.lines, ["ann  account 123456789012  2 keys  1 policies"]);
        assert_eq!(listed.json[0], output.json);
    }

    #[test]
    fn keys_are_listed_with_their_user() {
        let output = keys(&[ann(), pb::User::default()]);
        assert_eq!(output.lines, ["AKIA1  enabled   ann", "AKIA2  disabled  ann"]);
        assert_eq!(output.json[0]["user"], json!("ann"));
        assert_eq!(keys(&[]).json, json!([]));
    }

    #[test]
    fn a_shell_can_run_the_lines_of_a_new_key() {
        let user = "ann".parse().unwrap();
        let [access_key_id, secret_access_key] = ["AKIA1", "s/+"].map(str::to_owned);
        let output =
            created_key(&user, &pb::CreateAccessKeyResponse { access_key_id, secret_access_key });
        let taken: Vec<_> = output.lines.iter().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(taken, ["export AWS_ACCESS_KEY_ID=AKIA1", "export AWS_SECRET_ACCESS_KEY=s/+"]);
        assert_eq!(output.json["secret_access_key"], json!("s/+"));
    }
}
