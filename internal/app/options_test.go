package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/options"
)

// notRead are the fields that need no reader outside package options.
var notRead = map[string]string{
	"BlockingIO":     "the ends that a remote shell gets always block",
	"Verbose":        "Info and Debug follow from it",
	"Stats":          "Info follows from it",
	"Progress":       "Info follows from it",
	"ItemizeChanges": "OutFormat follows from it",
	"OldDirs":        "a filter rule does it",
	"Qsort":          "through UseIncRecurse: no transfer depends on the sorting algorithm",
	"RshEnv":         "through RemoteShell",
	"OutHasOp":       "LogBeforeTransfer follows from it",
	"TrustSender":    "through TrustSenderArgs and TrustSenderFilter",
	"Crtimes":        "always false",
}

// TestEveryOptionIsRead: a parsed option that does nothing is a bug. A field
// counts as read where it is selected from something that holds options, which
// goes by the name o, Opts or Options all over this program.
func TestEveryOptionIsRead(t *testing.T) {
	read := map[string]bool{}
	fset := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "options" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		written := map[ast.Expr]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, l := range n.Lhs {
					written[l] = true
				}
			case *ast.SelectorExpr:
				if !written[n] && holdsOptions(n.X) {
					read[n.Sel.Name] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			why := notRead[f.Name]
			switch {
			case !f.IsExported():
			case !read[f.Name] && why == "":
				t.Errorf("nobody reads options.%s.%s", typ.Name(), f.Name)
			case read[f.Name] && why != "":
				t.Errorf("options.%s.%s is read; the list of exceptions says: %s", typ.Name(), f.Name, why)
			}
		}
	}
	check(reflect.TypeOf(options.Options{}))
}

func holdsOptions(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	return name == "o" || name == "Opts" || name == "Options"
}
