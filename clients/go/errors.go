package anabranch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"anabranch/clients/go/internal/pb/logpb"
)

// Errors to compare with by errors.Is. The errors that calls return add facts to them.
var (
	// ErrClosed: the client, producer, reader or group was closed.
	ErrClosed = errors.New("closed")
	// ErrStreamNotFound: there is no such stream, or it was deleted.
	ErrStreamNotFound = errors.New("stream not found")
	// ErrShardNotFound: the stream has no such shard, or the shard has expired.
	ErrShardNotFound = errors.New("shard not found")
	// ErrNotDelivered: a record was not written, and will not be. The error also wraps the last reason.
	ErrNotDelivered = errors.New("not delivered, and not written")
	// ErrUnknownOutcome: a record was written, or was not, or will be. The client has stopped to send it again, because
	// the cluster forgets after two minutes which batches it has written.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrThrottled: a limit of memory, of disk or of the service is reached. Nothing was done.
	ErrThrottled = errors.New("throttled")
	// ErrKey: the stream is encrypted, and its master key cannot be used. Nothing was done.
	ErrKey = errors.New("master key cannot be used")
	// ErrDenied: the client's certificate does not allow the call. Nothing was done.
	ErrDenied = errors.New("denied")
	// ErrUnsupported: the node does not know the call, because its version is too old.
	ErrUnsupported = errors.New("not supported by the node")
	// ErrUnavailable: no node has answered in time.
	ErrUnavailable = errors.New("no node has answered")
	// ErrOwnershipLost: the member does not own the shard of the batch any more. Another member may process the records
	// of the batch again.
	ErrOwnershipLost = errors.New("the shard belongs to the member no more")
)

// InvalidError says which argument breaks which rule. Nothing was done. To be found with errors.As.
type InvalidError struct {
	// Field is the name of the argument or option. Empty if a node has refused the request: then Rule is its text.
	Field string
	// Rule that the field breaks.
	Rule string
}

func (e *InvalidError) Error() string {
	if e.Field == "" {
		return e.Rule
	}
	return e.Field + ": " + e.Rule
}

func invalid(field, rule string, args ...any) error {
	return &InvalidError{Field: field, Rule: fmt.Sprintf(rule, args...)}
}

// failure says why one node did not do what it was asked for.
type failure struct {
	kind failureKind
	// leader is the node to ask instead, if the failure names it; 0 for none.
	leader uint64
	text   string
}

type failureKind int

const (
	// The call may have been done or not.
	failedUnknown failureKind = iota
	// In all other cases nothing was done. Here no connection could be made.
	failedNotSent
	// Another node leads the shard, or coordinates the group.
	failedNotLeader
	// The node has no replica of the shard, or the group does not know the member.
	failedNotFound
	// The shard takes no more records.
	failedClosed
	// The shard is being split or merged.
	failedFrozen
	failedThrottled
	failedInvalid
	failedKey
	failedDenied
	failedUnsupported
)

func (f *failure) Error() string { return f.text }

// Unwrap makes the exported error of a failure visible to errors.Is and errors.As.
func (f *failure) Unwrap() error {
	switch f.kind {
	case failedThrottled:
		return ErrThrottled
	case failedInvalid:
		return &InvalidError{Rule: f.text}
	case failedKey:
		return ErrKey
	case failedDenied:
		return ErrDenied
	case failedUnsupported:
		return ErrUnsupported
	default:
		return nil
	}
}

// is says whether there is a failure of this kind.
func (f *failure) is(kind failureKind) bool { return f != nil && f.kind == kind }

// isFinal says that every other node would answer the same.
func (f *failure) isFinal() bool {
	switch f.kind {
	case failedUnknown, failedNotSent, failedNotLeader, failedNotFound:
		return false
	default:
		return true
	}
}

// failureOf reads the outcome of a call: its error, the trailer with the details, and the peer, which is known once the
// call was sent. Returns nil if there is no error.
func failureOf(err error, trailer metadata.MD, to *peer.Peer) *failure {
	if err == nil {
		return nil
	}
	state := status.Convert(err)
	text := nodeText(state.Message())
	// The details are an ErrorDetail, and not the google.rpc.Status that grpc-go expects and reads.
	var detail logpb.ErrorDetail
	for _, encoded := range trailer.Get("grpc-status-details-bin") {
		if proto.Unmarshal([]byte(encoded), &detail) == nil && detail.Kind != logpb.ErrorKind_ERROR_KIND_UNSPECIFIED {
			return failureOfDetail(&detail, text)
		}
	}
	switch state.Code() {
	case codes.Unimplemented:
		return &failure{kind: failedUnsupported, text: text}
	case codes.PermissionDenied, codes.Unauthenticated:
		return &failure{kind: failedDenied, text: text}
	}
	if to.Addr == nil {
		return &failure{kind: failedNotSent, text: text}
	}
	return &failure{kind: failedUnknown, text: text}
}

func failureOfDetail(detail *logpb.ErrorDetail, text string) *failure {
	f := &failure{leader: detail.LeaderNode, text: text}
	switch detail.Kind {
	case logpb.ErrorKind_ERROR_KIND_NOT_LEADER:
		f.kind = failedNotLeader
	case logpb.ErrorKind_ERROR_KIND_NOT_FOUND:
		f.kind = failedNotFound
	case logpb.ErrorKind_ERROR_KIND_CLOSED:
		f.kind = failedClosed
	case logpb.ErrorKind_ERROR_KIND_FROZEN:
		f.kind = failedFrozen
	case logpb.ErrorKind_ERROR_KIND_THROTTLED:
		f.kind = failedThrottled
	case logpb.ErrorKind_ERROR_KIND_INVALID:
		f.kind = failedInvalid
	case logpb.ErrorKind_ERROR_KIND_KEY_ACCESS_DENIED, logpb.ErrorKind_ERROR_KIND_KEY_DISABLED,
		logpb.ErrorKind_ERROR_KIND_KEY_INVALID_STATE, logpb.ErrorKind_ERROR_KIND_KEY_NOT_FOUND,
		logpb.ErrorKind_ERROR_KIND_KEY_OPT_IN_REQUIRED, logpb.ErrorKind_ERROR_KIND_KEY_THROTTLED:
		f.kind = failedKey
	default:
		f.kind = failedUnknown
	}
	return f
}

// nodeText cuts the node's own text out of the text that grpc-go makes of it when it finds details that it does not
// understand.
func nodeText(text string) string {
	_, quoted, found := strings.Cut(text, "grpc-message=")
	if !found {
		return text
	}
	quoted, err := strconv.QuotedPrefix(quoted)
	if err != nil {
		return text
	}
	own, _ := strconv.Unquote(quoted)
	return own
}
