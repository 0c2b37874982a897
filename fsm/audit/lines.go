package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// MaxLine bounds one line of a file, in bytes; no record comes near it.
const MaxLine = 1 << 20

// Gap says that a file lacks the records from First to Last, both included.
// First behind Last says that no record is lacking and that history is another
// one from here on: the next record does not follow from the one before.
type Gap struct {
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Reason string `json:"reason"`
	// Anchor is the hash of record Last, where it is known.
	Anchor Hash `json:"anchor"`
}

// Line is one line of a file of audit records: a record, or a gap.
type Line struct {
	Record *Record
	Gap    *Gap
}

// ErrLine says that a line of a file is neither a record nor a gap.
var ErrLine = errors.New("not a line of an audit file")

// ErrTorn says that the last line of a file has no end: whoever wrote it was
// interrupted, or is writing now.
var ErrTorn = errors.New("the last line is torn")

type gapLine struct {
	Gap *Gap `json:"gap"`
}

// Encode writes the line as JSON, and its end.
func (l Line) Encode() ([]byte, error) { return l.Append(nil) }

// Append is Encode behind what is there already.
func (l Line) Append(to []byte) ([]byte, error) {
	if l.Gap == nil {
		to, err := appendRecord(to, l.Record)
		return append(to, '\n'), err
	}
	text, err := json.Marshal(gapLine{l.Gap})
	if err != nil {
		return nil, fmt.Errorf("encode a gap of audit records: %w", err)
	}
	return append(append(to, text...), '\n'), nil
}

// LastSeq is the sequence number that the file has come to with this line.
func (l Line) LastSeq() uint64 {
	if l.Gap != nil {
		return l.Gap.Last
	}
	return l.Record.Seq
}

// ParseLine reads one line without its end. Its JSON must be exactly what
// [Line.Encode] writes, so that nothing can stand in a line that no hash covers.
func ParseLine(text []byte) (Line, error) {
	l := Line{Record: &Record{}}
	var value any = l.Record
	if bytes.HasPrefix(text, []byte(`{"gap":`)) {
		l = Line{Gap: &Gap{}}
		value = &gapLine{l.Gap}
	}
	if err := json.Unmarshal(text, value); err != nil {
		return Line{}, fmt.Errorf("%w: %w", ErrLine, err)
	}
	again, err := l.Encode()
	if err != nil || !bytes.Equal(bytes.TrimSuffix(again, []byte("\n")), text) {
		return Line{}, fmt.Errorf("%w: it is not written the way that Keysteward writes it", ErrLine)
	}
	return l, nil
}

// ReadLines goes through the lines of a file. An error ends it: [ErrLine] with
// the line's number, [ErrTorn] after all whole lines were given, or that of reading.
func ReadLines(in io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		r := bufio.NewReaderSize(in, 1<<16)
		for n := 1; ; n++ {
			text, err := readLine(r)
			if errors.Is(err, io.EOF) && len(text) == 0 {
				return
			}
			switch {
			case errors.Is(err, io.EOF):
				err = fmt.Errorf("line %d: %w", n, ErrTorn)
			case err != nil:
				err = fmt.Errorf("line %d: %w", n, err)
			}
			var l Line
			if err == nil {
				if l, err = ParseLine(text); err != nil {
					err = fmt.Errorf("line %d: %w", n, err)
				}
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// readLine returns a line without its end; with io.EOF what stands behind the last one.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > MaxLine:
			return nil, fmt.Errorf("%w: it has more than %d bytes", ErrLine, MaxLine)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return line, err
		}
		return line[:len(line)-1], nil
	}
}
