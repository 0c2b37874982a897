// Command promql reads expressions of Prometheus, one a line, from standard input, and writes what
// each selects, a line for each: metrics with the labels that they are selected by, such as
// up{job,instance}, separated by spaces. What is no expression ends it with the reason.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		names, err := selected(lines.Text())
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", lines.Text(), err)
			os.Exit(1)
		}
		fmt.Println(strings.Join(names, " "))
	}
}

func selected(expression string) (list []string, err error) {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		var labels []string
		for _, m := range s.LabelMatchers {
			if m.Name != "__name__" {
				labels = append(labels, m.Name)
			}
		}
		list = append(list, s.Name+"{"+strings.Join(labels, ",")+"}")
		return nil
	})
	return list, nil
}
