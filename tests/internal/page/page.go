// Package page makes documents out of what was measured: it reads the figures,
// puts tables between a page's marks and draws plots, so that no number is typed.
// It serves the programs that measure (tests/bench/figures, tests/memory).
package page

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// NotMeasured stands where there are no figures.
const NotMeasured = "*Not measured yet.*"

// Tables are the figures that a page can name.
type Tables map[string]func() string

// Update rewrites docs/name and the plots in docs/img. The page is written last:
// it must not show plots that couldn't be made.
func Update(docs, name string, tables Tables, charts []Chart) error {
	file := filepath.Join(docs, name)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if text, err = tables.Fill(text); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	img := filepath.Join(docs, "img")
	if err := os.MkdirAll(img, 0o755); err != nil {
		return err
	}
	for _, c := range charts {
		if err := os.WriteFile(filepath.Join(img, c.File+".svg"), c.SVG(), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(file, text, 0o644)
}

var (
	section = regexp.MustCompile(`(?s)<!-- figures: ([a-z-]+) -->.*?<!-- end -->`)
	opening = []byte("<!-- figures: ")
)

// Fill replaces what stands between <!-- figures: NAME --> and <!-- end -->.
func (ts Tables) Fill(page []byte) ([]byte, error) {
	var err error
	found := 0
	page = section.ReplaceAllFunc(page, func(part []byte) []byte {
		found++
		name := string(section.FindSubmatch(part)[1])
		table, ok := ts[name]
		if !ok {
			err = errors.Join(err, fmt.Errorf("no figures are called %q", name))
			return part
		}
		return fmt.Appendf(nil, "<!-- figures: %s -->\n\n%s\n\n<!-- end -->", name, table())
	})
	if n := bytes.Count(page, opening); err == nil && n != found {
		err = fmt.Errorf("%d of %d figures have no <!-- end -->", n-found, n)
	}
	return page, err
}

// Table is one in Markdown whose first column is text.
type Table struct{ text strings.Builder }

// NewTable begins one.
func NewTable(header ...string) *Table {
	t := new(Table)
	t.Row(header...)
	t.text.WriteString("|---|" + strings.Repeat("---:|", len(header)-1) + "\n")
	return t
}

// Row adds a line.
func (t *Table) Row(cells ...string) {
	t.text.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// String is the table, without a newline at its end.
func (t *Table) String() string { return strings.TrimSuffix(t.text.String(), "\n") }
