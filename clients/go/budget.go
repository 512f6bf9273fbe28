package anabranch

import (
	"context"
	"slices"
	"sync"
)

// budget bounds the bytes of the records that wait in a producer. Callers get their bytes in the order in which they
// came, so a large record is not passed by small ones for ever.
type budget struct {
	mu      sync.Mutex
	free    int
	total   int
	waiting []*claim
}

type claim struct {
	bytes   int
	granted chan struct{}
}

func newBudget(total int) *budget { return &budget{free: total, total: total} }

// acquire waits until bytes are free. More than the whole budget waits until nothing else is taken. Returns the bytes
// to release, ErrClosed, or the error of ctx.
func (b *budget) acquire(ctx context.Context, closed <-chan struct{}, bytes int) (int, error) {
	bytes = min(bytes, b.total)
	b.mu.Lock()
	if len(b.waiting) == 0 && bytes <= b.free {
		b.free -= bytes
		b.mu.Unlock()
		return bytes, nil
	}
	own := &claim{bytes, make(chan struct{})}
	b.waiting = append(b.waiting, own)
	b.mu.Unlock()
	err := ErrClosed
	select {
	case <-own.granted:
		return bytes, nil
	case <-closed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.mu.Lock()
	place := slices.Index(b.waiting, own)
	if place >= 0 {
		b.waiting = slices.Delete(b.waiting, place, place+1)
		b.grant()
	}
	b.mu.Unlock()
	if place < 0 {
		b.release(bytes) // it was granted meanwhile
	}
	return 0, err
}

func (b *budget) release(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += bytes
	b.grant()
}

func (b *budget) grant() {
	for len(b.waiting) > 0 && b.waiting[0].bytes <= b.free {
		b.free -= b.waiting[0].bytes
		close(b.waiting[0].granted)
		b.waiting = b.waiting[1:]
	}
}
