package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Lock is an exclusive right, named by a file, that ends with its holder: also
// when the process is killed. It holds between goroutines and between processes.
type Lock struct {
	file *os.File
}

// Acquire waits until the lock is free or ctx ends.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		l, ok, err := TryAcquire(path)
		if err != nil || ok {
			return l, err
		}
		// A blocking flock could not be given up when ctx ends.
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// TryAcquire takes the lock if it is free.
func TryAcquire(path string) (l *Lock, ok bool, err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, false, err
		}
		free, err := flock(f, syscall.LOCK_EX)
		if err != nil || !free {
			return nil, false, errors.Join(err, f.Close())
		}
		// Its last holder may have removed the file in between.
		if same, err := isAt(f, path); same || err != nil {
			return &Lock{file: f}, err == nil, err
		}
		f.Close() // holds nothing any more
	}
}

// Sign writes into the lock's file which process took it, for AcquireOrphan.
func (l *Lock) Sign() error {
	_, err := l.file.WriteString(strconv.Itoa(os.Getpid()))
	return err
}

// orphanPatience is how long a program may take to come to life, or to die.
const orphanPatience = 2 * time.Second

// AcquireOrphan takes the lock if it is free, or if the process that signed it has
// ended. A process that is killed while it starts a program leaves its open files, and
// so its locks, to the program until that has come to life; this is waited for.
func AcquireOrphan(ctx context.Context, path string) (l *Lock, ok bool, err error) {
	l, ok, err = TryAcquire(path)
	if err != nil || ok || !signerEnded(path) {
		return l, ok, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, orphanPatience, errStillHeld)
	defer cancel()
	l, err = Acquire(limited, path)
	if errors.Is(err, errStillHeld) {
		return nil, false, nil
	}
	return l, err == nil, err
}

var errStillHeld = errors.New("the lock is still held")

// signerEnded is false also where nobody has signed.
func signerEnded(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(string(text))
	return err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// Release gives the lock up and removes its file. It may be called on nil.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	return errors.Join(os.Remove(l.file.Name()), l.file.Close())
}

// Claim is the right to make the layer or image of a key: wait for it, look again
// whether somebody else made it meanwhile, make it, release it.
func (s *Store) Claim(ctx context.Context, key string) (*Lock, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return Acquire(ctx, filepath.Join(s.dir, "locks", key))
}

// TryClaim is Claim without waiting.
func (s *Store) TryClaim(key string) (*Lock, bool, error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	return TryAcquire(filepath.Join(s.dir, "locks", key))
}

// Lease keeps a layer, and so everything below it, from being pruned.
type Lease struct {
	Layer Layer
	file  *os.File
}

// Lease takes a layer into use. The error is ErrNotFound when there is none.
func (s *Store) Lease(key string) (*Lease, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	path := s.layerFile(key)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	free, err := flock(f, syscall.LOCK_SH)
	if err == nil && free {
		free, err = isAt(f, path)
	}
	if err != nil || !free { // not free: it is just being pruned
		return nil, errors.Join(cmpErr(err, ErrNotFound), f.Close())
	}
	layer, err := s.Layer(key)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	now := time.Now()
	return &Lease{Layer: layer, file: f}, os.Chtimes(path, now, now) // for Prune: when it was last of use
}

// LeaseFile leases the layer that a disk file is, whatever store it is in; nil when it
// is none. The error is ErrNotFound when the layer has gone.
func LeaseFile(file string) (*Lease, error) {
	s := &Store{dir: filepath.Dir(filepath.Dir(file))}
	key, ok := s.LayerOf(file)
	if !ok {
		return nil, nil
	}
	return s.Lease(key)
}

// Release ends the use. It may be called on nil.
func (l *Lease) Release() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// flock takes a lock of that kind without waiting.
func flock(f *os.File, how int) (bool, error) {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return true, nil
}

// isAt reports whether the open file is still the one that the path names.
func isAt(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(mine, there), nil
}
