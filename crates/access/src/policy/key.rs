//! What conditions and variables can ask about.

/// A condition key. Names have no case.
///
/// Source: AWS documentation, "AWS global condition context keys".
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
    TagKeys,
    RequestTag(String),
    ResourceTag(String),
    /// A key of AWS that no call here has.
    Absent,
}

/// Global keys of AWS that no call here has: conditions on them are understood, and find nothing.
const ABSENT: [&str; 33] = [
    "aws:CalledVia",
    "aws:CalledViaFirst",
    "aws:CalledViaLast",
    "aws:Ec2InstanceSourcePrivateIPv4",
    "aws:Ec2InstanceSourceVpc",
    "aws:FederatedProvider",
    "aws:MultiFactorAuthAge",
    "aws:MultiFactorAuthPresent",
    "aws:PrincipalIsAWSService",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:PrincipalServiceName",
    "aws:PrincipalServiceNamesList",
    "aws:Referer",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
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
    "aws:TokenIssueTime",
    "aws:ViaAWSService",
    "aws:VpceAccount",
    "aws:VpceOrgID",
    "aws:VpceOrgPaths",
    "aws:VpcSourceIp",
    "aws:AssumedRoot",
];

impl Key {
    /// The key of that name, if there is one.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        if let Some((prefix, tag)) = name.split_once('/') {
            let named = !tag.is_empty();
            return match prefix.to_ascii_lowercase().as_str() {
                "aws:requesttag" if named => Some(Self::RequestTag(tag.to_owned())),
                "aws:resourcetag" if named => Some(Self::ResourceTag(tag.to_owned())),
                "aws:principaltag" if named => Some(Self::Absent),
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
            _ => {
                let known = ABSENT.iter().any(|absent| absent.eq_ignore_ascii_case(name));
                known.then_some(Self::Absent)
            }
        }
    }
}
