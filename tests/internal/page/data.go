package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// Present passes over files that aren't there: what wasn't measured is empty.
func Present(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadText reads a whole file.
func ReadText(file string, into *[]byte) (err error) {
	*into, err = os.ReadFile(file)
	return err
}

// ReadJSON reads a file that holds one JSON object.
func ReadJSON[T any](file string, into **T) error {
	var all []T
	if err := ReadLines(file, &all); err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("%s: want one JSON object, got %d", file, len(all))
	}
	*into = &all[0]
	return nil
}

// ReadLines reads JSON objects that follow each other.
func ReadLines[T any](file string, into *[]T) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var t T
		err := d.Decode(&t)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		*into = append(*into, t)
	}
}

// Once are the keys of ts, each once, in their order.
func Once[T any, K comparable](ts []T, key func(T) K) (keys []K) {
	for _, t := range ts {
		if k := key(t); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}
