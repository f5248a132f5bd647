package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Offsets in the header of a qcow2 file; its numbers are big-endian.
const (
	qcow2Mark          = "QFI\xfb"
	qcow2BackingOffset = 8  // 64 bits: where the backing file's name is
	qcow2BackingLength = 16 // 32 bits
	qcow2Size          = 24 // 64 bits: bytes of the disk
	qcow2HeaderLength  = 32 // as much of it as is read here
)

// VirtualSize reads how many bytes the disk in a qcow2 file has.
func VirtualSize(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head, err := qcow2Header(f)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return int64(binary.BigEndian.Uint64(head[qcow2Size:])), nil
}

func qcow2Header(f io.ReaderAt) ([]byte, error) {
	head := make([]byte, qcow2HeaderLength)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if string(head[:len(qcow2Mark)]) != qcow2Mark {
		return nil, errors.New("not a qcow2 file")
	}
	return head, nil
}

// setBacking changes the name by which an overlay knows what it is backed by, to one
// that is not longer.
func setBacking(path, name string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(writeBacking(f, name), f.Close())
}

func writeBacking(f *os.File, name string) error {
	head, err := qcow2Header(f)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	at := binary.BigEndian.Uint64(head[qcow2BackingOffset:])
	room := binary.BigEndian.Uint32(head[qcow2BackingLength:])
	if at == 0 || uint64(len(name)) > uint64(room) {
		return fmt.Errorf("%s: no room for the name %q of its backing file", f.Name(), name)
	}
	if _, err := f.WriteAt([]byte(name), int64(at)); err != nil {
		return err
	}
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(name)))
	_, err = f.WriteAt(length[:], qcow2BackingLength)
	return err
}
