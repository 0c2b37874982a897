package cli

import (
	"fmt"
	"io"

	"github.com/schollz/progressbar/v3"
)

// meter shows how far a command is: a bar on a terminal, lines elsewhere, nothing
// with --quiet. It is not for concurrent use.
type meter struct {
	w        io.Writer
	terminal bool
	quiet    bool

	bar   *progressbar.ProgressBar
	label string
	total int
	told  int    // number of the last line
	said  string // the last remark
}

func (a *app) meter(w io.Writer, quiet bool) *meter {
	return &meter{w: w, terminal: a.terminal(w), quiet: quiet, told: -1}
}

// show tells that done of total are done; label says of what.
func (m *meter) show(label string, done, total int) {
	if m.quiet {
		return
	}
	fresh := label != m.label || total != m.total
	if fresh {
		m.close()
		m.label, m.total, m.told = label, total, -1
	}
	if m.terminal {
		if m.bar == nil {
			m.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(m.w), progressbar.OptionSetDescription(label),
				progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(),
				progressbar.OptionSetWidth(30))
		}
		_ = m.bar.Set(done)
		return
	}
	// Lines are for logs: the first, the last, and each tenth between.
	if step := max(1, total/10); m.told < 0 || done == total && m.told != done || done-m.told >= step || done < m.told {
		m.told = done
		fmt.Fprintf(m.w, "%s: %d of %d\n", label, done, total)
	}
}

// say makes a remark unless it is the one made last.
func (m *meter) say(remark string) {
	if remark = oneLine(remark); m.quiet || remark == m.said {
		return
	}
	m.said = remark
	if m.bar != nil {
		_ = m.bar.Clear()
	}
	fmt.Fprintln(m.w, remark)
	if m.bar != nil {
		_ = m.bar.RenderBlank()
	}
}

// close ends the bar.
func (m *meter) close() {
	if m.bar != nil {
		_ = m.bar.Finish()
		m.bar = nil
	}
}
