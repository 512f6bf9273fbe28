//! The planted histories. `script.rs` explains their language.

use chaos_checkers::RuleId::*;
use chaos_checkers::Severity::{Invalid, Report, Unknown};

use super::Planted;

macro_rules! planted {
    ($($rule:ident $severity:ident $what:literal { $bad:literal } good { $good:literal })*) => {
        pub(super) const PLANTED: &[Planted] = &[
            $(Planted { rule: $rule, severity: $severity, what: $what, bad: $bad, good: $good },)*
        ];
    };
}

planted! {
I1 Invalid "a record that nobody put" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:9-9"
} good {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1"
}
I1 Invalid "a damaged payload" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:?"
} good {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1"
}
I1 Invalid "another partition key" {
    "p1 put 1-1 key=a -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1:10:b"
} good {
    "p1 put 1-1 key=a -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1:10:a"
}
I1 Invalid "a record of another stream" {
    "p1 put 1-1 stream=t -> info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1"
} good {
    "p1 put 1-1 -> info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1"
}
I1 Invalid "a read before the put began" {
    "p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1
     p1 put 1-1 -> info"
} good {
    "p2 iter c1 0 trim -> ok
     p2 get c1
     p1 put 1-1
     p2 -> 10:1-1
     p1 -> info"
}
I2 Invalid "a put failed, and its record is there" {
    "p1 put 1-1 -> fail throttled
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1"
} good {
    "p1 put 1-1 -> info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1"
}
I2 Invalid "one record of a call was refused, and is there" {
    "p1 puts 1-1 1-2 -> 0@10 fail
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-2"
} good {
    "p1 puts 1-1 1-2 -> 0@10 info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-2"
}
I3 Invalid "two reads differ" {
    "p1 put 1-1 -> info
     p2 put 2-1 -> info
     p3 iter c1 0 trim -> ok
     p3 get c1 -> 10:1-1
     p3 iter c2 0 trim -> ok
     p3 get c2 -> 10:2-1"
} good {
    "p1 put 1-1 -> info
     p2 put 2-1 -> info
     p3 iter c1 0 trim -> ok
     p3 get c1 -> 10:1-1
     p3 iter c2 0 trim -> ok
     p3 get c2 -> 10:1-1"
}
I4 Invalid "a read finds another record than was acknowledged" {
    "p1 put 1-1 -> 0@10
     p2 put 2-1 -> info
     p3 iter c1 0 trim -> ok
     p3 get c1 -> 10:2-1
     p3 drain 0 -> 10:2-1"
} good {
    "p1 put 1-1 -> 0@10
     p2 put 2-1 -> info
     p3 iter c1 0 trim -> ok
     p3 get c1 -> 10:1-1
     p3 drain 0 -> 10:1-1"
}
I5 Invalid "one attempt makes two copies" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-1"
} good {
    "p1 put 1-1 budget=3 -> 0@11 x2
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-1"
}
I5 Invalid "named attempts make two copies" {
    "p1 put 1-1 budget=3 named -> 0@10 x2
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-1"
} good {
    "p1 put 1-1 budget=3 named -> 0@10 x2
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1"
}
I5 Invalid "named attempts make two copies although the clocks hardly moved" {
    "p1 put 1-1 budget=3 named -> 0@10 x2
     * clocks 1000
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-1"
} good {
    "p1 put 1-1 budget=3 named -> 0@10 x2
     * clocks 86400000
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-1"
}
I5 Invalid "more copies than attempts" {
    "p1 put 1-1 budget=2 -> info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-1 12:1-1"
} good {
    "p1 put 1-1 budget=2 -> info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-1"
}
I5 Invalid "an acknowledged position and another one" {
    "p1 put 1-1 -> 0@10
     p1 put 1-1 -> fail refused
     p2 iter c1 1 trim -> ok
     p2 get c1 -> 20:1-1"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-1 -> info
     p2 iter c1 1 trim -> ok
     p2 get c1 -> 20:1-1"
}
I6 Invalid "one position for two puts" {
    "p1 put 1-1
     p2 put 2-1 -> 0@10
     p1 -> 0@10"
} good {
    "p1 put 1-1
     p2 put 2-1 -> 0@10
     p1 -> 0@11"
}
O1 Invalid "a response falls" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 drain 0 -> 11:1-2 10:1-1"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 drain 0 -> 10:1-1 11:1-2"
}
O1 Invalid "a chain returns a record again" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-2
     p2 get c1 -> 11:1-2"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 behind=1
     p2 get c1 -> 11:1-2"
}
O2 Invalid "order-design: a later put of another process is lower" {
    "p1 put 1-1 -> 0@11
     p2 put 2-1 -> 0@10"
} good {
    "p1 put 1-1
     p2 put 2-1 -> 0@10
     p1 -> 0@11"
}
O2 Invalid "order-contract: a put is before the number that it names" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 ord=10 -> 0@9"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 ord=10 -> 0@11"
}
O2 Report "without the promise the order is only reported" {
    "header {\"promises\":{\"design_order\":false}}
     p1 put 1-1 -> 0@11
     p2 put 2-1 -> 0@10"
} good {
    "header {\"promises\":{\"design_order\":false}}
     p1 put 1-1 -> 0@10
     p2 put 2-1 -> 0@11"
}
O3 Invalid "the puts of a process fall" {
    "p1 put 1-1 -> 0@11
     p1 put 1-2 -> 0@10"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11"
}
O4 Invalid "the records of a call change places" {
    "header {\"promises\":{\"array_order\":true}}
     p1 puts 1-1 1-2 -> 0@11 0@10"
} good {
    "header {\"promises\":{\"array_order\":true}}
     p1 puts 1-1 1-2 -> 0@10 0@11"
}
O4 Report "without the promise the order is only reported" {
    "p1 puts 1-1 1-2 -> 0@11 0@10"
} good {
    "p1 puts 1-1 1-2 -> 0@10 1@9"
}
O5 Invalid "a record of a child is below one of its parent" {
    "p1 put 1-1 ehk=0 -> 0@100
     p1 split 0 at=mid -> ok
     p3 iter c1 0 trim -> ok
     p3 get c1 -> 100:1-1 end kids=1:0..mid-<0;2:mid..max<0
     p2 put 2-1 ehk=0 -> 1@50"
} good {
    "p1 put 1-1 ehk=0 -> 0@100
     p1 split 0 at=mid -> ok
     p3 iter c1 0 trim -> ok
     p3 get c1 -> 100:1-1 end kids=1:0..mid-<0;2:mid..max<0
     p2 put 2-1 ehk=0 -> 1@150"
}
O5 Invalid "the parent takes a record after its child" {
    "p1 put 1-1 ehk=0 -> 0@100
     p1 split 0 at=mid -> ok
     p2 put 2-1 ehk=0 -> 1@500
     p1 put 1-2 ehk=0 -> 0@101
     p3 iter c1 0 trim -> ok
     p3 get c1 -> 100:1-1 101:1-2 end kids=1:0..mid-<0;2:mid..max<0"
} good {
    "p1 put 1-1 ehk=0 -> 0@100
     p1 split 0 at=mid -> ok
     p1 put 1-2 ehk=0
     p2 put 2-1 ehk=0 -> 1@500
     p1 -> 0@101
     p3 iter c1 0 trim -> ok
     p3 get c1 -> 100:1-1 101:1-2 end kids=1:0..mid-<0;2:mid..max<0"
}
C1 Invalid "an acknowledged record is missing in the middle" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 put 1-3 -> 0@12
     p2 drain 0 -> 10:1-1 12:1-3"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 put 1-3 -> 0@12
     p2 drain 0 -> 10:1-1 11:1-2 12:1-3"
}
C1 Invalid "one gateway lost a record" {
    "p1 put 1-1 -> 0@10
     p2/g1 drain 0 -> 10:1-1
     p2/g2 drain 0 -> "
} good {
    "p1 put 1-1 -> 0@10
     p2/g1 drain 0 -> 10:1-1
     p2/g2 drain 0 -> 10:1-1"
}
C1 Invalid "a record is gone before its retention is over" {
    "p9 create 1 hours=2 -> ok
     p1 put 1-1 -> 0@10
     wait 1h
     p2 drain 0 -> "
} good {
    "p9 create 1 hours=2 -> ok
     p1 put 1-1 -> 0@10
     wait 3h
     p2 drain 0 -> "
}
C1 Unknown "nobody read the shard" {
    "nodrain
     p1 put 1-1 -> 0@10"
} good {
    "nodrain
     p1 put 1-1 -> info"
}
C1 Report "the records of a stream that was created twice are not checked" {
    "p9 create 1 -> ok
     p1 put 1-1 -> 0@10
     p9 delete -> ok
     p9 create 2 -> ok
     p9 shards -> 0:0..mid-:1 1:mid..max:1
     p1 put 1-2 ehk=max -> 1@5
     p1 put 1-3 ehk=0 -> 0@5"
} good {
    "p9 create 1 -> ok
     p1 put 1-1 -> 0@10
     p9 delete -> ok
     p2 drain 0 ->"
}
C2 Invalid "a record that was read is gone" {
    "p1 put 1-1 -> info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1
     p2 drain 0 -> "
} good {
    "p1 put 1-1 -> info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1
     p2 drain 0 -> 10:1-1"
}
C3 Invalid "a reader leaves out a record" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 put 1-3 -> 0@12
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 12:1-3"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 put 1-3 -> 0@12
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-2 12:1-3"
}
C3 Invalid "a record between two pages that is read later" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> info
     p1 put 1-3 -> 0@12
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 behind=1
     p2 get c1 -> 12:1-3
     p3 drain 0 -> 10:1-1 11:1-2 12:1-3"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> info
     p1 put 1-3 -> 0@12
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 behind=1
     p2 get c1 -> 11:1-2 12:1-3
     p3 drain 0 -> 10:1-1 11:1-2 12:1-3"
}
C3 Invalid "a record behind the start of a chain" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 put 1-3 -> 0@12
     p2 iter c1 0 after=10 -> ok
     p2 get c1 -> 12:1-3"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 put 1-3 -> 0@12
     p2 iter c1 0 after=10 -> ok
     p2 get c1 -> 11:1-2 12:1-3"
}
C4 Invalid "a chain ends at an open shard" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 end"
} good {
    "p1 put 1-1 -> 0@10
     p1 split 0 at=mid -> ok
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 end kids=1:0..mid-<0;2:mid..max<0"
}
C4 Invalid "a chain ends before the last record" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 split 0 at=mid -> ok
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 end kids=1:0..mid-<0;2:mid..max<0"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 split 0 at=mid -> ok
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-2 end kids=1:0..mid-<0;2:mid..max<0"
}
C5 Invalid "LATEST returns an old record" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 latest -> ok
     p2 get c1 -> 10:1-1"
} good {
    "p1 put 1-1
     p2 iter c1 0 latest -> ok
     p1 -> 0@10
     p2 get c1 -> 10:1-1"
}
C5 Invalid "LATEST leaves out a new record" {
    "p2 iter c1 0 latest -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 get c1 -> 11:1-2"
} good {
    "p1 put 1-1
     p2 iter c1 0 latest -> ok
     p1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 get c1 -> 11:1-2"
}
C5 Invalid "AT_SEQUENCE_NUMBER leaves out its record" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 iter c1 0 at=10 -> ok
     p2 get c1 -> 11:1-2"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 iter c1 0 at=10 -> ok
     p2 get c1 -> 10:1-1 11:1-2"
}
C5 Invalid "AFTER_SEQUENCE_NUMBER returns its record" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 after=10 -> ok
     p2 get c1 -> 10:1-1"
} good {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 after=9 -> ok
     p2 get c1 -> 10:1-1"
}
C5 Invalid "AT_TIMESTAMP returns an older record" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 time=2000 -> ok
     p2 get c1 -> 10:1-1:1999"
} good {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 time=2000 -> ok
     p2 get c1 -> 10:1-1:2000"
}
C5 Invalid "AT_TIMESTAMP leaves out a record" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 iter c1 0 time=10 -> ok
     p2 get c1 -> 11:1-2
     p2 drain 0 -> 10:1-1 11:1-2"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 iter c1 0 time=11 -> ok
     p2 get c1 -> 11:1-2
     p2 drain 0 -> 10:1-1 11:1-2"
}
C5 Invalid "arrival times fall" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 drain 0 -> 10:1-1:2000 11:1-2:1999"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 drain 0 -> 10:1-1:2000 11:1-2:2000"
}
C6 Invalid "a read says that it is at the tip, and is not" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> behind=0"
} good {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> behind=5"
}
C6 Invalid "a page that says that it is the last one, and is not" {
    "p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 behind=0"
} good {
    "p1 put 1-1 -> 0@10
     p1 put 1-2
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 behind=0
     p1 -> 0@11"
}
C6 Report "without the promise a stale read is only reported" {
    "header {\"promises\":{\"strong_reads\":false}}
     p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> behind=0"
} good {
    "header {\"promises\":{\"strong_reads\":false}}
     p1 put 1-1 -> 0@10
     p2 iter c1 0 latest -> ok
     p2 get c1 -> behind=0"
}
C6 Invalid "a read is stale, and a pushed event was only made earlier" {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> behind=0"
} good {
    "p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 api=push -> behind=0"
}
C7 Invalid "a reader waits, and old records are ahead" {
    "* heal
     p9 recover 0 -> 100
     p9 describe -> ACTIVE 1 24
     p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     wait 60s
     p2 get c1 -> behind=60000"
} good {
    "* heal
     p9 recover 0 -> 100
     p9 describe -> ACTIVE 1 24
     p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     wait 60s
     p2 get c1 -> 10:1-1"
}
C7 Unknown "a stalled machine explains a late reader" {
    "* heal
     * pressure 90 0
     p9 recover 0 -> 100
     p9 describe -> ACTIVE 1 24
     p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     wait 60s
     p2 get c1 -> behind=60000"
} good {
    "* heal
     * pressure 90 0
     p9 recover 0 -> 100
     p9 describe -> ACTIVE 1 24
     p1 put 1-1 -> 0@10
     p2 iter c1 0 trim -> ok
     p2 get c1 -> behind=10"
}
R1 Invalid "the last hash keys are missing" {
    "p9 shards -> 0:0..mid-:1"
} good {
    "p9 shards -> 0:0..mid-:1 1:mid..max:1"
}
R1 Invalid "hash keys are missing in the middle" {
    "p9 shards -> 0:0..9:1 1:11..max:1"
} good {
    "p9 shards -> 0:0..9:1 1:10..max:1"
}
R1 Invalid "two open shards overlap" {
    "p9 shards -> 0:0..10:1 1:10..max:1"
} good {
    "p9 shards -> 1:10..max:1 0:0..9:1"
}
R1 Invalid "a list is suddenly empty" {
    "p9 shards -> 0:0..max:1
     p9 shards -> "
} good {
    "p9 shards ->
     p9 shards -> 0:0..max:1"
}
R2 Invalid "an explicit hash key in the wrong shard" {
    "p9 shards -> 0:0..mid-:1 1:mid..max:1
     p1 put 1-1 ehk=0 -> 1@10"
} good {
    "p9 shards -> 0:0..mid-:1 1:mid..max:1
     p1 put 1-1 ehk=0 -> 0@10"
}
R2 Invalid "a partition key in the wrong shard: the MD5 of a begins with 0c" {
    "p9 shards -> 0:0..mid-:1 1:mid..max:1
     p1 put 1-1 key=a -> info
     p2 iter c1 1 trim -> ok
     p2 get c1 -> 10:1-1"
} good {
    "p9 shards -> 0:0..mid-:1 1:mid..max:1
     p1 put 1-1 key=a -> info
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1"
}
R3 Invalid "a closed shard takes a record" {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p1 put 1-1 ehk=0 -> 0@40"
} good {
    "p1 put 1-1 ehk=0
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p1 -> 0@40"
}
R3 Invalid "a shard takes a record after a resharding that waits" {
    "header {\"promises\":{\"reshard_waits\":true}}
     p1 put 1-1 -> 0@10
     p9 split 0 at=mid -> ok
     p1 put 1-2 -> 0@11"
} good {
    "p1 put 1-1 -> 0@10
     p9 split 0 at=mid -> ok
     p1 put 1-2 -> 0@11"
}
R3 Invalid "two lists differ in the end of a shard" {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:61<0 2:mid..max:61<0
     p9 shards -> 0:0..max:1..60 1:0..mid-:61<0 2:mid..max:61<0"
} good {
    "p9 shards -> 0:0..max:1
     p9 shards -> 0:0..max:1..60 1:0..mid-:61<0 2:mid..max:61<0"
}
R3 Invalid "a record is above the end of its shard" {
    "p1 put 1-1 -> 0@60
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
} good {
    "p1 put 1-1 -> 0@50
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
}
R3 Invalid "a closed shard has a new record" {
    "p1 put 1-1 -> info
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2/g1 drain 0 ->
     p2/g2 drain 0 -> 40:1-1"
} good {
    "p1 put 1-1 -> info
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2/g1 drain 0 -> 40:1-1
     p2/g2 drain 0 -> 40:1-1"
}
R4 Invalid "a child starts below the end of its parent" {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:40<0 2:mid..max:51<0"
} good {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
}
R4 Invalid "a merged shard starts below the end of its second parent" {
    "p9 shards -> 0:0..mid-:1..50 1:mid..max:1..60 2:0..max:55<0,1"
} good {
    "p9 shards -> 0:0..mid-:1..50 1:mid..max:1..60 2:0..max:61<0,1"
}
R4 Invalid "a child has more hash keys than its parents" {
    "p9 shards -> 0:0..mid-:1..50 1:mid..max:1..50 2:0..max:51<0"
} good {
    "p9 shards -> 0:0..mid-:1..50 1:mid..max:1..50 2:0..max:51<0,1"
}
R4 Invalid "merged shards are not adjacent" {
    "p9 shards -> 0:0..9:1..50 1:10..19:1..50 2:20..max:1..50 3:0..max:51<0,2"
} good {
    "p9 shards -> 0:0..9:1..50 1:10..19:1..50 2:20..max:1..50 3:0..12:51<0,1 4:13..max:51<1,2"
}
R4 Invalid "the children of a shard lack some of its hash keys" {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51"
} good {
    "p9 shards -> 0:0..max:1
     p9 shards -> 1:0..mid-:51<0 3:mid..max:61<2"
}
R4 Invalid "two lists differ in a shard" {
    "p9 shards -> 0:0..max:1
     p9 shards -> 0:0..max:2"
} good {
    "p9 shards -> 0:0..max:1
     p9 shards -> 0:0..max:1"
}
R5 Invalid "a record is in a parent and in its child" {
    "p1 put 1-1 ehk=0 -> 1@60
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 40:1-1 end kids=1:0..mid-<0;2:mid..max<0"
} good {
    "p1 put 1-1 ehk=0 -> 1@60
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2 iter c1 0 trim -> ok
     p2 get c1 -> end kids=1:0..mid-<0;2:mid..max<0"
}
R6 Invalid "the end of a shard lacks a child" {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2 iter c1 0 trim -> ok
     p2 get c1 -> end kids=1:0..mid-<0"
} good {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2 iter c1 0 trim -> ok
     p2 get c1 -> end kids=2:mid..max<0;1:0..mid-<0"
}
R6 Invalid "the end of a shard names no children" {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2 iter c1 0 trim -> ok
     p2 get c1 -> end"
} good {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2 iter c1 0 trim -> ok
     p2 get c1 -> behind=0"
}
R6 Invalid "a merged child names one parent only" {
    "p9 shards -> 0:0..mid-:1..50 1:mid..max:1..60 2:0..max:61<0,1
     p2 iter c1 0 trim -> ok
     p2 get c1 -> end kids=2:0..max<0"
} good {
    "p9 shards -> 0:0..mid-:1..50 1:mid..max:1..60 2:0..max:61<0,1
     p2 iter c1 0 trim -> ok
     p2 get c1 -> end kids=2:0..max<1,0"
}
R6 Invalid "a child has a record before the resharding began" {
    "p1 put 1-1 ehk=0 -> 1@60
     p9 split 0 at=mid -> ok
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
} good {
    "p9 split 0 at=mid
     p1 put 1-1 ehk=0 -> 1@60
     p9 -> ok
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
}
R7 Invalid "a refused split had an effect" {
    "p9 split 0 at=mid -> fail LimitExceededException
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
} good {
    "p9 split 0 at=mid -> info
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
}
R7 Invalid "the refused one of two splits had an effect" {
    "p9 split 0 at=mid -> fail ResourceInUseException
     p9 split 0 at=7 -> ok
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
} good {
    "p9 split 0 at=7 -> fail ResourceInUseException
     p9 split 0 at=mid -> ok
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0"
}
R7 Invalid "an unknown split took effect twice" {
    "p9 split 0 at=mid -> info
     p9 shards -> 0:0..max:1..50 1:0..9:51<0 2:10..mid-:51<0 3:mid..max:51<0"
} good {
    "p9 scale 3 -> info
     p9 shards -> 0:0..max:1..50 1:0..9:51<0 2:10..mid-:51<0 3:mid..max:51<0"
}
R8 Invalid "a new stream has another number of shards" {
    "p9 create 1 -> ok
     p9 describe -> ACTIVE 2 24"
} good {
    "p9 create 1 -> ok
     p9 describe -> CREATING 0 24
     p9 describe -> ACTIVE 1 24"
}
R8 Invalid "an acknowledged retention is not there" {
    "p9 create 1 -> ok
     p9 retention 48 -> ok
     p9 describe -> ACTIVE 1 24"
} good {
    "p9 create 1 -> ok
     p9 retention 48 -> info
     p9 describe -> ACTIVE 1 24
     p9 describe -> ACTIVE 1 48"
}
R8 Invalid "a split is there, and then it is not" {
    "p9 create 1 -> ok
     p9 split 0 at=mid -> ok
     p9 describe -> ACTIVE 2 24
     p9 describe -> ACTIVE 1 24"
} good {
    "p9 create 1 -> ok
     p9 split 0 at=mid -> ok
     p9 describe -> UPDATING 1 24
     p9 describe -> UPDATING 2 24
     p9 describe -> ACTIVE 2 24"
}
R8 Invalid "a deleted stream is still there" {
    "p9 create 1 -> ok
     p9 delete -> ok
     p9 describe -> ACTIVE 1 24"
} good {
    "p9 create 1 -> ok
     p9 delete -> ok
     p9 describe -> DELETING 1 24
     p9 describe -> fail ResourceNotFoundException"
}
R8 Report "without the promise an odd order is only reported" {
    "header {\"promises\":{\"linearizable_streams\":false}}
     p9 create 1 -> ok
     p9 describe -> ACTIVE 2 24"
} good {
    "header {\"promises\":{\"linearizable_streams\":false}}
     p9 create 2 -> ok
     p9 describe -> ACTIVE 2 24"
}
T1 Invalid "a trimmed record leaves a hole" {
    "p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 put 1-3 -> 0@12
     wait 2h
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 12:1-3"
} good {
    "p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     p1 put 1-3 -> 0@12
     wait 2h
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2 12:1-3
     p2 drain 0 -> 12:1-3"
}
T2 Invalid "a young record is trimmed" {
    "p9 create 1 hours=2 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 1h
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2"
} good {
    "p9 create 1 hours=2 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 1h
     p9 retention 1 -> ok
     p9 retention 2 -> ok
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2
     p2 drain 0 -> 11:1-2"
}
T2 Invalid "a record is younger than the retention less the skew of clocks" {
    "header {\"clock_skew_ms\":5000}
     p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 3590s
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2"
} good {
    "header {\"clock_skew_ms\":15000}
     p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 3590s
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2
     p2 drain 0 -> 11:1-2"
}
T2 Invalid "the clocks moved, and not as far as the retention" {
    "p9 create 1 hours=24 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 60s
     * clocks 82800000
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2"
} good {
    "p9 create 1 hours=24 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 60s
     * clocks 86400000
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2
     p2 drain 0 -> 11:1-2"
}
T3 Report "a hidden record is back, and that is not promised" {
    "header {\"promises\":{\"trims_are_final\":false}}
     p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 2h
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2
     p2 iter c2 0 trim -> ok
     p2 get c2 -> 10:1-1 11:1-2
     p2 drain 0 -> 11:1-2"
} good {
    "header {\"promises\":{\"trims_are_final\":false}}
     p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 2h
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 10:1-1 11:1-2
     p2 iter c2 0 trim -> ok
     p2 get c2 -> 11:1-2
     p2 drain 0 -> 11:1-2"
}
T3 Invalid "a trimmed record is back" {
    "p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 2h
     p2/g1 iter c1 0 trim -> ok
     p2/g1 get c1 -> 11:1-2
     p2/g2 iter c2 0 trim -> ok
     p2/g2 get c2 -> 10:1-1 11:1-2
     p2 drain 0 -> 11:1-2"
} good {
    "header {\"promises\":{\"trim_staleness_ms\":60000}}
     p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 2h
     p2/g1 iter c1 0 trim -> ok
     p2/g1 get c1 -> 11:1-2
     p2/g2 iter c2 0 trim -> ok
     p2/g2 get c2 -> 10:1-1 11:1-2
     p2 drain 0 -> 11:1-2"
}
T4 Invalid "a longer retention brings a record back" {
    "p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 2h
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2
     p9 retention 48 -> ok
     p2 iter c2 0 trim -> ok
     p2 get c2 -> 10:1-1 11:1-2
     p2 drain 0 -> 11:1-2"
} good {
    "p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p1 put 1-2 -> 0@11
     wait 2h
     p2 iter c1 0 trim -> ok
     p2 get c1 -> 11:1-2
     p9 retention 48 -> ok
     p2 iter c2 0 trim -> ok
     p2 get c2 -> 11:1-2
     p2 drain 0 -> 11:1-2"
}
T5 Invalid "a record stays after its retention" {
    "header {\"trim_slack_ms\":60000}
     p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     wait 2h
     p2 drain 0 -> 10:1-1"
} good {
    "header {\"trim_slack_ms\":60000}
     p9 create 1 hours=1 -> ok
     p1 put 1-1 -> 0@10
     p9 retention 3 -> ok
     wait 2h
     p2 drain 0 -> 10:1-1"
}
L1 Invalid "an epoch has two owners" {
    "p1 take 0 1 ann -> none
     p2 take 0 1 bob -> none"
} good {
    "p1 take 0 1 ann -> none
     p2 take 0 2 bob -> none"
}
L1 Invalid "two owners store checkpoints in one epoch" {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 10 owner=ann -> ok
     p2 checkpoint 0 1 11 owner=bob -> ok"
} good {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 10 owner=ann -> ok
     p2 checkpoint 0 1 11 owner=bob -> fail fenced"
}
L1 Invalid "an owner renews the epoch of another one" {
    "p1 take 0 1 ann -> none
     p2 renew 0 1 bob -> ok"
} good {
    "p1 take 0 1 ann -> none
     p2 renew 0 1 bob -> fail fenced
     p1 renew 0 1 ann -> ok"
}
L1 Invalid "a group gives an epoch to two members" {
    "p1 watch c1 ann -> 0:1:none
     p2 watch c2 bob -> 0:1:none"
} good {
    "p1 member ann join -> ok
     p2 member bob join -> ok
     p1 watch c1 ann -> 0:1:none
     p2 watch c2 bob -> nothing
     p1 watch c1 ann -> 0:1:none
     p2 watch c2 bob -> 0:2:none
     p1 member ann leave -> ok"
}
L2 Invalid "an old owner stores a checkpoint" {
    "p1 take 0 1 ann -> none
     p2 take 0 2 bob -> none
     p1 checkpoint 0 1 10 -> ok"
} good {
    "p1 take 0 1 ann -> none
     p2 take 0 2 bob -> none
     p1 checkpoint 0 1 10 -> fail fenced"
}
L2 Invalid "a checkpoint goes back" {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 10 -> ok
     p1 checkpoint 0 1 9 -> ok"
} good {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 9 -> ok
     p1 checkpoint 0 1 SHARD_END -> ok"
}
L2 Invalid "a new owner gets an old checkpoint" {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 10 -> ok
     p2 take 0 2 bob -> none"
} good {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 10 -> info
     p2 take 0 2 bob -> none"
}
L2 Invalid "an old owner renews its lease" {
    "p1 take 0 1 ann -> none
     p2 take 0 2 bob -> none
     p1 renew 0 1 ann -> ok"
} good {
    "p1 take 0 1 ann -> none
     p2 take 0 2 bob
     p1 renew 0 1 ann -> ok
     p2 -> none
     p1 renew 0 1 ann -> fail fenced"
}
L2 Invalid "a list shows an old checkpoint" {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 10 -> ok
     p1 checkpoint 0 1 11 -> ok
     p2 leases -> 0:10"
} good {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 10 -> ok
     p1 checkpoint 0 1 11
     p2 leases -> 0:10
     p1 -> info
     p2 leases -> 0:11
     p1 checkpoint 0 1 5 back -> ok
     p2 leases -> 0:5"
}
L2 Invalid "a former member of a group stores a checkpoint" {
    "p1 watch c1 ann -> 0:1:none
     p1 checkpoint 0 1 10 owner=ann -> ok
     p2 watch c2 bob -> 0:2:10
     p1 checkpoint 0 1 11 owner=ann -> ok"
} good {
    "p2 watch c2 bob
     p1 watch c1 ann -> 0:1:none
     p1 checkpoint 0 1 10 owner=ann -> ok
     p1 checkpoint 0 1 9 owner=ann -> info
     p1 checkpoint 0 1 11 owner=ann -> ok
     p2 -> 0:2:11
     p1 checkpoint 0 1 12 owner=ann -> fail refused"
}
L2 Invalid "a member stores a checkpoint after it gave the shard back" {
    "p1 watch c1 ann -> 0:1:none
     p1 checkpoint 0 1 10 owner=ann release -> ok
     p1 checkpoint 0 1 11 owner=ann -> ok"
} good {
    "p1 watch c1 ann -> 0:1:none
     p1 checkpoint 0 1 10 owner=ann release -> ok
     p1 watch c1 ann -> 0:2:10
     p1 checkpoint 0 2 11 owner=ann -> ok"
}
L2 Invalid "a late checkpoint of a table goes back" {
    "p1 take 0 1 ann -> none
     p1 checkpoint 0 1 9 -> info
     p1 checkpoint 0 1 10 -> ok
     p2 take 0 2 bob -> 9"
} good {
    "p1 watch c1 ann -> 0:1:none
     p1 checkpoint 0 1 9 -> info
     p1 checkpoint 0 1 10 -> ok
     p2 watch c2 bob -> 0:2:9"
}
L3 Invalid "an owner leaves out a record" {
    "p1 puts 1-1 1-2 1-3 -> 0@10 0@11 0@12
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 process 0 1 1-3 12 -> ok"
} good {
    "p1 puts 1-1 1-2 1-3 -> 0@10 0@11 0@12
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 checkpoint 0 1 10 -> ok
     p3 take 0 2 bob -> 10
     p3 process 0 2 1-2 11 -> ok
     p3 process 0 2 1-3 12 -> ok"
}
L3 Invalid "a new owner does not go on at the checkpoint" {
    "p1 puts 1-1 1-2 1-3 -> 0@10 0@11 0@12
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 process 0 1 1-2 11 -> ok
     p2 checkpoint 0 1 10 -> ok
     p3 take 0 2 bob -> 10
     p3 process 0 2 1-3 12 -> ok"
} good {
    "p1 puts 1-1 1-2 1-3 -> 0@10 0@11 0@12
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 process 0 1 1-2 11 -> ok
     p2 checkpoint 0 1 10 -> ok
     p3 take 0 2 bob -> 10
     p3 process 0 2 1-2 11 -> ok
     p3 process 0 2 1-3 12 -> ok"
}
L3 Invalid "a checkpoint passes records that nobody processed" {
    "p1 puts 1-1 1-2 -> 0@10 0@11
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 checkpoint 0 1 11 -> ok"
} good {
    "p1 puts 1-1 1-2 -> 0@10 0@11
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 process 0 1 1-2 11 -> info
     p2 checkpoint 0 1 11 -> ok"
}
L4 Invalid "an owner processes a record again" {
    "p1 puts 1-1 1-2 -> 0@10 0@11
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 process 0 1 1-2 11 -> ok
     p2 process 0 1 1-1 10 -> ok"
} good {
    "p1 puts 1-1 1-2 -> 0@10 0@11
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 process 0 1 1-2 11 -> ok
     p3 take 0 2 bob -> none
     p3 process 0 2 1-1 10 -> ok"
}
L5 Invalid "a child before its parent" {
    "p1 put 1-1 ehk=0 -> 0@10
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p1 put 1-2 ehk=0 -> 1@60
     p2 take 1 1 ann -> none
     p2 process 1 1 1-2 60 -> ok"
} good {
    "p1 put 1-1 ehk=0 -> 0@10
     p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p1 put 1-2 ehk=0 -> 1@60
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 checkpoint 0 1 SHARD_END -> ok
     p2 take 1 1 ann -> none
     p2 process 1 1 1-2 60 -> ok"
}
L5 Invalid "a group gives a child out before its parent is finished" {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2 watch c1 ann -> 0:1:none
     p2 watch c1 ann -> 0:1:none 1:1:none"
} good {
    "p9 shards -> 0:0..max:1..50 1:0..mid-:51<0 2:mid..max:51<0
     p2 watch c1 ann -> 0:1:none
     p3 checkpoint 0 1 SHARD_END -> info
     p2 watch c1 ann -> 1:1:none 2:1:none"
}
L6 Report "two owners work at once" {
    "p1 puts 1-1 1-2 -> 0@10 0@11
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p3 take 0 2 bob -> none
     p2 process 0 1 1-2 11 -> ok"
} good {
    "p1 puts 1-1 1-2 -> 0@10 0@11
     p2 take 0 1 ann -> none
     p2 process 0 1 1-1 10 -> ok
     p2 process 0 1 1-2 11 -> ok
     p3 take 0 2 bob -> none"
}
L7 Invalid "no owner stores a checkpoint after the heal" {
    "* heal
     p9 recover-lease 0 -> info"
} good {
    "* heal
     p9 recover-lease 0 -> 900"
}
L7 Invalid "a lease gets an owner too late" {
    "* heal
     p9 recover-lease 0 -> 30001"
} good {
    "* heal
     p9 recover-lease 0 -> 30000"
}
L7 Unknown "a stalled machine explains a lease without an owner" {
    "* heal
     * pressure 99 0
     p9 recover-lease 0 -> info"
} good {
    "* heal
     * pressure 50 0
     p9 recover-lease 0 -> 900"
}
M1 Invalid "a register shows an old value" {
    "p1 write r a -> ok
     p1 write r b -> ok
     p2 read r -> a"
} good {
    "p1 write r a -> ok
     p1 write r b -> info
     p2 read r -> a
     p2 read r -> b"
}
M1 Invalid "an unknown write takes effect twice" {
    "p1 write r a -> info
     p2 write r b -> ok
     p2 read r -> a
     p2 write r b -> ok
     p2 read r -> a"
} good {
    "p1 write r a -> info
     p2 write r b -> ok
     p2 read r -> a
     p2 write r b -> ok
     p2 read r -> b"
}
M1 Invalid "two calls set over the same value" {
    "p1 cas r none a -> ok
     p1 cas r a b -> ok
     p2 cas r a c -> ok"
} good {
    "p1 cas r none a -> ok
     p2 cas r a c
     p1 cas r a b -> ok
     p2 -> no found=b
     p1 cas r b d -> info
     p1 cas r d e -> info
     p2 read r -> e"
}
M1 Invalid "a refusal shows an old value" {
    "p1 cas r none a -> ok
     p1 write r b -> ok
     p2 cas r x c -> no found=a"
} good {
    "p1 cas r none a -> ok
     p1 write r b -> ok
     p2 cas r x c -> no found=b
     p2 cas r x c -> no"
}
M1 Invalid "a call is refused although the value is the expected one" {
    "p1 write r a -> ok
     p2 cas r a b -> no"
} good {
    "p1 write r a -> ok
     p1 cas r a b -> info
     p2 cas r a b -> no"
}
M1 Invalid "a transaction is seen in one item and not in the next" {
    "p1 cas t none a -> ok
     p1 cas t a b -> info
     p2 read t -> b
     p2 read t -> a"
} good {
    "p1 cas t none a -> ok
     p1 cas t a b -> info
     p2 read t -> a
     p2 read t -> b
     p2 copies t -> b b b"
}
M1 Invalid "an acknowledged transaction is gone at the end" {
    "p1 cas t none a -> ok
     p2 copies t -> none none"
} good {
    "p1 cas t none a -> info
     p2 copies t -> none none"
}
M1 Invalid "a member of a set is missing" {
    "p1 add t m -> ok
     p2 list t -> n
     p1 add t n -> fail exists"
} good {
    "p1 add t m -> ok
     p1 add t n -> info
     p2 list t -> m n
     p1 add t n -> fail exists
     p1 remove t n -> ok
     p1 remove t n -> fail absent
     p2 list t -> m"
}
M2 Invalid "two leaders of a term" {
    "* leaders catalog:1:7
     * leaders catalog:2:7"
} good {
    "* leaders catalog:1:7
     * leaders catalog:2:8 s/0:1:7"
}
M2 Invalid "two replicas differ" {
    "p9 dump 0 1 -> 10 1 5 aa
     p9 dump 0 2 -> 10 1 5 bb"
} good {
    "p9 dump 0 1 -> 10 1 5 aa
     p9 dump 0 2 -> 9 1 4 bb
     p9 dump 0 2 -> 10 1 5 aa"
}
M2 Unknown "a replica cannot be compared" {
    "p9 dump 0 1 -> 10 1 5 aa
     p9 dump 0 3 -> 10 1 5 aa
     p9 dump 0 2 -> 9 1 4 bb"
} good {
    "p9 dump 0 1 -> 10 1 5 aa"
}
M3 Invalid "the recovery takes too long" {
    "* heal
     p9 recover 0 -> 30001"
} good {
    "* heal
     p9 recover 0 -> 30000"
}
M3 Invalid "a shard does not recover" {
    "* heal
     p9/g2 recover 0 -> info"
} good {
    "* heal
     p9/g2 recover 0 -> info
     p9/g2 recover 0 -> 9000"
}
M3 Unknown "a stalled machine explains a long recovery" {
    "* heal
     * pressure 0 99
     p9 recover 0 -> 30001"
} good {
    "* heal
     * pressure 50 50
     p9 recover 0 -> 300"
}
M3 Invalid "a stream stays UPDATING" {
    "p1 put 1-1 -> 0@10
     * heal
     p9 recover 0 -> 100
     wait 40s
     p9 describe -> UPDATING 1 24"
} good {
    "p1 put 1-1 -> 0@10
     * heal
     p9 recover 0 -> 100
     p9 describe -> UPDATING 1 24
     wait 40s
     p9 describe -> ACTIVE 1 24"
}
M3 Unknown "nothing says that the stream is ACTIVE" {
    "p1 put 1-1 -> 0@10
     * heal
     p9 recover 0 -> 100"
} good {
    "p1 put 1-1 -> 0@10
     * heal
     p9 recover 0 -> 100
     p9 describe -> ACTIVE 1 24"
}
M4 Invalid "a node ends" {
    "* exit 2 11"
} good {
    "* exit 2 9 expected"
}
M4 Invalid "a node panics" {
    "* log 2 thread 'main' panicked at src/main.rs:1"
} good {
    "* leaders catalog:1:1"
}
M5 Unknown "a wanted fault did not happen" {
    "header {\"wanted\":[{\"fault\":\"kill\",\"least\":2}]}
     * fault kill 2 start bit
     * fault kill 2 stop
     * fault kill 2 start"
} good {
    "header {\"wanted\":[{\"fault\":\"kill\",\"least\":2}]}
     * fault kill 2 start bit
     * fault kill 2 stop
     * fault kill 2 start bit"
}
M5 Unknown "no call failed during a fault" {
    "header {\"wanted\":[{\"fault\":\"failed-operations\",\"least\":1}]}
     p1/g2 put 1-1 -> info
     * fault cut 2 start bit
     p1/g2 put 1-2 -> 0@10
     * fault cut 2 stop"
} good {
    "header {\"wanted\":[{\"fault\":\"failed-operations\",\"least\":1}]}
     * fault cut 2 start bit
     p1/g2 put 1-1 -> info
     * fault cut 2 stop"
}
M6 Invalid "healthy nodes refuse puts" {
    "header {\"least_availability_percent\":90}
     * fault kill 2 start bit
     p1/g1 put 1-1 -> info
     p3/g3 put 3-1 -> 0@10"
} good {
    "header {\"least_availability_percent\":90}
     * fault kill 2 start bit
     p1/g2 put 1-1 -> info
     p3/g3 put 3-1 -> 0@10
     * fault kill 1 start bit
     p3/g3 put 3-2 -> info
     * fault kill 1 stop
     * fault kill 2 stop
     p3/g3 put 3-3 -> info"
}
M7 Invalid "a damaged node leads" {
    "* fault damage-wal 2 start bit
     * leaders catalog:2:9"
} good {
    "* fault damage-wal 2 start bit
     * leaders catalog:1:9
     * fault damage-wal 2 stop
     * leaders catalog:2:10"
}
M7 Report "a damaged node leads, and repairs what it lacks" {
    "header {\"promises\":{\"damage_never_leads\":false}}
     * fault damage-wal 2 start bit
     * leaders catalog:2:9"
} good {
    "header {\"promises\":{\"damage_never_leads\":false}}
     * fault damage-wal 2 start bit
     * leaders catalog:1:9"
}
M8 Invalid "half a transaction" {
    "p1 cas t none a -> ok
     p1 write t b -> ok
     p2 copies t -> b a b"
} good {
    "p1 cas t none a -> ok
     p1 write t b -> ok
     p2 copies t -> b b b"
}
A1 Invalid "an action is allowed after its removal" {
    "p1 grant ann put -> ok
     p1 revoke ann put -> ok
     p2 attempt ann put -> yes"
} good {
    "p1 grant ann put -> ok
     p1 revoke ann put
     p2 attempt ann put -> yes
     p1 -> ok
     p2 attempt ann put -> no"
}
A2 Report "a granted action is denied" {
    "p1 grant ann put -> ok
     p2 attempt ann put -> no"
} good {
    "p1 grant ann put
     p2 attempt ann put -> no
     p1 -> ok
     p2 attempt ann put -> yes
     p1 revoke ann put -> info
     p2 attempt ann put -> no"
}
A2 Invalid "a granted action is denied against the promise" {
    "header {\"promises\":{\"immediate_grants\":true}}
     p1 grant ann put -> ok
     p2 attempt ann put -> no"
} good {
    "header {\"promises\":{\"immediate_grants\":true}}
     p2 attempt ann put -> no
     p1 grant ann put -> ok
     p2 attempt ann put -> yes"
}
}
