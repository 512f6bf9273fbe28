//! Condition keys, which conditions and variables refer to.
//!
//! Every key that IAM gives to every request has a value here too. Keys that no request has here are known, and have
//! no value. A statement with `Deny` must not use such a key: it would deny nothing, or, with a negated operator,
//! everything.

/// A condition key. Names are compared without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Username,
    UserId,
    PrincipalArn,
    PrincipalAccount,
    PrincipalType,
    SourceIp,
    UserAgent,
    SecureTransport,
    CurrentTime,
    EpochTime,
    RequestedRegion,
    ResourceAccount,
    /// Only requests with temporary credentials have it, as in IAM.
    TokenIssueTime,
    /// Only requests with temporary credentials have it, as in IAM.
    MultiFactorAuthPresent,
    PrincipalIsAwsService,
    ViaAwsService,
    TagKeys,
    /// The tag with this key; the key is compared without case.
    RequestTag(String),
    /// The tag of the stream or consumer with this key, compared as in [`Self::RequestTag`].
    ResourceTag(String),
    /// A global key of AWS that no request has here, by its name.
    Absent(String),
}

/// Global keys of AWS that no request has here. Conditions may use them and find no value.
const ABSENT: [&str; 27] = [
    "aws:CalledVia",
    "aws:CalledViaFirst",
    "aws:CalledViaLast",
    "aws:Ec2InstanceSourcePrivateIPv4",
    "aws:Ec2InstanceSourceVpc",
    "aws:FederatedProvider",
    "aws:MultiFactorAuthAge",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:PrincipalServiceName",
    "aws:PrincipalServiceNamesList",
    "aws:Referer",
    "aws:ResourceOrgID",
    "aws:ResourceOrgPaths",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceIdentity",
    "aws:SourceOrgID",
    "aws:SourceOrgPaths",
    "aws:SourceVpc",
    "aws:SourceVpcArn",
    "aws:SourceVpce",
    "aws:VpceAccount",
    "aws:VpceOrgID",
    "aws:VpceOrgPaths",
    "aws:VpcSourceIp",
    "aws:AssumedRoot",
];

impl Key {
    /// The key with this name; `None` if the name is unknown.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        if let Some((prefix, tag)) = name.split_once('/') {
            let named = !tag.is_empty();
            return match prefix.to_ascii_lowercase().as_str() {
                "aws:requesttag" if named => Some(Self::RequestTag(tag.to_owned())),
                "aws:resourcetag" if named => Some(Self::ResourceTag(tag.to_owned())),
                "aws:principaltag" if named => Some(Self::Absent(name.to_owned())),
                _ => None,
            };
        }
        match name.to_ascii_lowercase().as_str() {
            "aws:username" => Some(Self::Username),
            "aws:userid" => Some(Self::UserId),
            "aws:principalarn" => Some(Self::PrincipalArn),
            "aws:principalaccount" => Some(Self::PrincipalAccount),
            "aws:principaltype" => Some(Self::PrincipalType),
            "aws:sourceip" => Some(Self::SourceIp),
            "aws:useragent" => Some(Self::UserAgent),
            "aws:securetransport" => Some(Self::SecureTransport),
            "aws:currenttime" => Some(Self::CurrentTime),
            "aws:epochtime" => Some(Self::EpochTime),
            "aws:tagkeys" => Some(Self::TagKeys),
            "aws:requestedregion" => Some(Self::RequestedRegion),
            "aws:resourceaccount" => Some(Self::ResourceAccount),
            "aws:tokenissuetime" => Some(Self::TokenIssueTime),
            "aws:multifactorauthpresent" => Some(Self::MultiFactorAuthPresent),
            "aws:principalisawsservice" => Some(Self::PrincipalIsAwsService),
            "aws:viaawsservice" => Some(Self::ViaAwsService),
            _ => {
                let known = ABSENT.iter().any(|absent| absent.eq_ignore_ascii_case(name));
                known.then(|| Self::Absent(name.to_owned()))
            }
        }
    }
}
