package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

// kind is what the commands about one kind of objects under /v2 have in common.
type kind[T any] struct {
	one      string   // of them, in words
	parents  []string // what it belongs to, outermost first
	verb     string   // that makes one: create or add
	past     string   // of the verb
	columns  []column[T]
	examples string
	metadata func(*T) *wire.ObjectMetadata
	objects  func(c *client.Client, parents []string) objects[T]
	fixed    bool // they can not be changed
}

// objects are those that have the same parents. They are a maker and a changer where
// there are commands for it.
type objects[T any] interface {
	List(ctx context.Context) ([]T, error)
	Get(ctx context.Context, name string) (T, error)
	Delete(ctx context.Context, name string) error
}

type maker[T any] interface {
	Create(ctx context.Context, object T) (T, error)
}

type changer[T any] interface {
	Put(ctx context.Context, object T) (T, error)
}

// column is one of a table of objects; of a single one it is a row.
type column[T any] struct {
	title string
	value func(T) any
}

// fields holds the flags from which an object is made or changed.
type fields[T any] interface {
	// addTo declares them.
	addTo(cmd *cobra.Command)
	// apply writes those that were given into an object, which is empty if it is new.
	apply(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string, object *T) error
}

// checker is implemented by fields that can be refused before anybody is asked.
type checker interface {
	check(cmd *cobra.Command, fresh bool) error
}

// commands are those to list, show and delete objects, and to make and change them with
// fields, of which each command gets its own.
func (k kind[T]) commands(a *app, with func() fields[T]) []*cobra.Command {
	list := []*cobra.Command{k.listCommand(a), k.getCommand(a), k.makeCommand(a, with())}
	if !k.fixed {
		list = append(list, k.updateCommand(a, "update", with()))
	}
	return append(list, k.deleteCommand(a))
}

// arguments wants the names of the parents and, if so, of the object itself.
func (k kind[T]) arguments(itself bool) cobra.PositionalArgs {
	names := k.parents
	if itself {
		names = append(slices.Clone(names), k.one)
	}
	return namedArguments(names...)
}

// use is how a command is typed.
func (k kind[T]) use(verb string, itself bool) string {
	words := []string{verb}
	for _, parent := range k.parents {
		words = append(words, placeholder(parent))
	}
	if itself {
		words = append(words, "NAME")
	}
	return strings.Join(words, " ")
}

// placeholder is an argument as help shows it.
func placeholder(what string) string {
	words := strings.Fields(what)
	return strings.ToUpper(words[len(words)-1])
}

// plurals of what does not just get an s.
func pluralOf(what string) string {
	if strings.HasSuffix(what, "s") {
		return what
	}
	return what + "s"
}

func (k kind[T]) listCommand(a *app) *cobra.Command {
	l := &listing{}
	return l.command(a, k.use("list", false), "list "+pluralOf(k.one), k.arguments(false),
		func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			list, err := k.objects(c, args).List(ctx)
			if err != nil {
				return err
			}
			if list == nil {
				list = []T{}
			}
			return l.print(cmd.OutOrStdout(), list, func(g *grid) {
				g.row(each(k.columns, func(c column[T]) any { return c.title })...)
				for _, object := range list {
					g.row(each(k.columns, func(c column[T]) any { return c.value(object) })...)
				}
			})
		})
}

func each[T, U any](list []T, of func(T) U) []U {
	result := make([]U, len(list))
	for i, one := range list {
		result[i] = of(one)
	}
	return result
}

func (k kind[T]) getCommand(a *app) *cobra.Command {
	l := &listing{}
	return l.command(a, k.use("get", true), "show a "+k.one, k.arguments(true),
		func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			parents, name := k.split(args)
			object, err := k.objects(c, parents).Get(ctx, name)
			if err != nil {
				return err
			}
			return l.print(cmd.OutOrStdout(), object, func(g *grid) { k.rows(g, object) })
		})
}

func (k kind[T]) rows(g *grid, object T) {
	for _, c := range k.columns {
		g.row(strings.ToLower(c.title), c.value(object))
	}
}

func (k kind[T]) split(args []string) (parents []string, name string) {
	return args[:len(k.parents)], args[len(k.parents)]
}

// makeCommand makes a new object.
func (k kind[T]) makeCommand(a *app, with fields[T]) *cobra.Command {
	l, description := &listing{}, &describing{}
	cmd := l.command(a, k.use(k.verb, true), k.verb+" a "+k.one, k.arguments(true),
		func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			var object T
			parents, name := k.split(args)
			k.metadata(&object).Name = name
			description.apply(cmd, k.metadata(&object))
			if err := with.apply(ctx, cmd, c, args, &object); err != nil {
				return err
			}
			made, err := k.objects(c, parents).(maker[T]).Create(ctx, object)
			if err != nil {
				return err
			}
			return l.tell(cmd.OutOrStdout(), made, fmt.Sprintf("%s %s is %s", k.one, strings.Join(args, "/"), k.past))
		})
	cmd.PreRunE = checked(with, true)
	cmd.Example = k.examples
	description.addTo(cmd)
	with.addTo(cmd)
	return cmd
}

// updateCommand changes what flags say, and leaves the rest as it is.
func (k kind[T]) updateCommand(a *app, verb string, with fields[T]) *cobra.Command {
	l, description := &listing{}, &describing{}
	cmd := l.command(a, k.use(verb, true), "change a "+k.one+": what flags say, and nothing else", k.arguments(true),
		func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			parents, name := k.split(args)
			object, err := k.objects(c, parents).Get(ctx, name)
			if err != nil {
				return err
			}
			description.apply(cmd, k.metadata(&object))
			if err := with.apply(ctx, cmd, c, args, &object); err != nil {
				return err
			}
			changed, err := k.objects(c, parents).(changer[T]).Put(ctx, object)
			if err != nil {
				return err
			}
			return l.tell(cmd.OutOrStdout(), changed, fmt.Sprintf("%s %s is changed", k.one, strings.Join(args, "/")))
		})
	cmd.PreRunE = checked(with, false)
	description.addTo(cmd)
	with.addTo(cmd)
	return cmd
}

// checked refuses wrong flags before anybody is asked.
func checked[T any](with fields[T], fresh bool) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if c, ok := with.(checker); ok {
			return c.check(cmd, fresh)
		}
		return nil
	}
}

func (k kind[T]) deleteCommand(a *app) *cobra.Command {
	f := &connection{}
	cmd := &cobra.Command{
		Use: k.use("delete", true), Short: "delete a " + k.one, Args: k.arguments(true),
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			parents, name := k.split(args)
			if err := k.objects(c, parents).Delete(ctx, name); err != nil || f.quiet {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), oneLine(fmt.Sprintf("%s %s is deleted", k.one, strings.Join(args, "/"))))
			return nil
		}),
	}
	f.addTo(cmd, defaultTimeout)
	return cmd
}

// tell says in a sentence what was done, or prints the object in another form.
func (l *listing) tell(w io.Writer, object any, sentence string) error {
	if l.form != outputTable {
		return l.print(w, object, nil)
	}
	if !l.quiet {
		fmt.Fprintln(w, oneLine(sentence))
	}
	return nil
}

// describing holds the flags of the metadata that every object has.
type describing struct{ description, userData1, userData2 string }

func (d *describing) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.description, "description", "", "for people, at most 1024 characters")
	cmd.Flags().StringVar(&d.userData1, "user-data-1", "", "kept, nothing more; at most 512 characters")
	cmd.Flags().StringVar(&d.userData2, "user-data-2", "", "kept, nothing more; at most 512 characters")
}

func (d *describing) apply(cmd *cobra.Command, to *wire.ObjectMetadata) {
	for flag, set := range map[string]func(){
		"description": func() { to.Description = d.description },
		"user-data-1": func() { to.UserData1 = d.userData1 },
		"user-data-2": func() { to.UserData2 = d.userData2 },
	} {
		if cmd.Flags().Changed(flag) {
			set()
		}
	}
}

// nothing are the flags of objects that are only metadata.
type nothing[T any] struct{}

func (nothing[T]) addTo(*cobra.Command) {}

func (nothing[T]) apply(context.Context, *cobra.Command, *client.Client, []string, *T) error {
	return nil
}

// namedArguments wants so many arguments, and names them.
func namedArguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return usagef("%s needs %s, got %s", called(cmd), cmp.Or(enumerated(names), "no arguments"), cmp.Or(given(args), "none"))
	}
}

func given(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return quoted(args)
}

// enumerated writes "a project, a logical cloud and a cluster reference".
func enumerated(names []string) string {
	for i, name := range names {
		if i == 0 {
			names = slices.Clone(names)
		}
		names[i] = "a " + name
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
