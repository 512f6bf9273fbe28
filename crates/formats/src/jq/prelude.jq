# Definitions that differ from those of the interpreter's own library. They give the results of jq 1.6.

# Paths
def del(paths): delpaths([path(paths)]);

# Regular expressions: the flags may be null, and both may come in an array.
def matches($regex; $flags):
  if $regex | type == "array" then regex_matches($regex[0]; ($regex[1] // "") + ($flags // ""))
  else regex_matches($regex; $flags // "") end;
def split_matches($regex; $flags): regex_split_matches($regex; $flags // "");
def split_($regex; $flags): regex_split($regex; $flags // "");

# Texts
def join($separator):
  reduce .[] as $item (null;
    (if . == null then "" else . + $separator end)
    + ($item | if . == null then "" elif type == "number" or type == "boolean" then tojson else . end))
  // "";
def index($part): indices($part) | .[0];
def rindex($part): indices($part) | .[-1:] | .[0];
def @json: tojson;

# Objects
def from_entries: reduce .[] as $entry ({};
  . + ($entry | { (.key // .name // .Name // .Key): (if has("value") then .value else .Value end) }));
def with_entries(update): to_entries | map(update) | from_entries;
def in(container): . as $key | container | has($key);
def inside(container): . as $part | container | contains($part);

# Arrays, also of the values of an object
def flatten: def parts: if type == "array" then .[] | parts else . end; [.[] | parts];
def flatten($depth):
  def parts($levels): if type == "array" and $levels >= 0 then .[] | parts($levels - 1) else . end;
  [.[] | parts($depth - 1)];
def transpose: (map(length) | reduce .[] as $length (0; if $length > . then $length else . end)) as $longest
  | [range($longest) as $at | map(.[$at])];
def IN(source): . as $value | any(source; . == $value);
def IN(source; values): any(source; IN(values));

# Numbers
def gamma: lgamma;

# Dates: without a fraction, and always in UTC.
def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def localtime: gmtime;
def strflocaltime($format): strftime($format);
