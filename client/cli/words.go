package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// mnemonicFlags say where words come from.
type mnemonicFlags struct{ file, passphraseFile string }

func (f *mnemonicFlags) addTo(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&f.file, "mnemonic-file", "", usage)
	cmd.Flags().StringVar(&f.passphraseFile, "mnemonic-passphrase-file", "", "file with the BIP-39 passphrase (default: none)")
	_ = cmd.MarkFlagFilename("mnemonic-file")
	_ = cmd.MarkFlagFilename("mnemonic-passphrase-file")
}

func (f *mnemonicFlags) mnemonic() (validator.Mnemonic, error) {
	raw, err := readSecretFile(f.file)
	if err != nil {
		return validator.Mnemonic{}, fmt.Errorf("read --mnemonic-file: %w", err)
	}
	defer clear(raw)
	mnemonic, err := validator.ParseMnemonic(string(raw))
	if err != nil {
		return validator.Mnemonic{}, fmt.Errorf("--mnemonic-file %s: %w", f.file, err)
	}
	return mnemonic, nil
}

// passphrase is empty without a file. Line ends behind it do not count, blanks do.
func (f *mnemonicFlags) passphrase() (string, error) {
	if f.passphraseFile == "" {
		return "", nil
	}
	raw, err := readSecretFile(f.passphraseFile)
	if err != nil {
		return "", fmt.Errorf("read --mnemonic-passphrase-file: %w", err)
	}
	defer clear(raw)
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// maxSecretFile is far above any password or mnemonic.
const maxSecretFile = 16 << 10

func readSecretFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxSecretFile {
		clear(raw)
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxSecretFile)
	}
	return raw, nil
}

// writeNew writes a file that must not exist, so that it outlives a power cut.
func writeNew(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(name)
		return err
	}
	return nil
}

const (
	askedBack   = 3 // words
	confirmRuns = 3 // tries
)

// confirmWords shows the words on the terminal and asks some of them back, so that
// nobody goes on who has not written them down.
func (a *app) confirmWords(cmd *cobra.Command, mnemonic validator.Mnemonic, yes bool) error {
	w := cmd.ErrOrStderr()
	words := strings.Fields(mnemonic.Reveal())
	fmt.Fprint(w, "These words are the seed of all keys. They are shown once: write them down.\n\n")
	for i, word := range words {
		fmt.Fprintf(w, "%4d. %-10s", i+1, word)
		if i%4 == 3 {
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintln(w)
	if yes {
		return nil
	}
	answers := bufio.NewReader(cmd.InOrStdin())
	for range confirmRuns {
		right, err := askBack(cmd.Context(), w, answers, words)
		if err != nil {
			return fmt.Errorf("the words were not confirmed, and nothing was submitted: %w", err)
		}
		if right {
			return nil
		}
		fmt.Fprintln(w, "That is not right. Look again.")
	}
	return errors.New("the words were not confirmed, and nothing was submitted")
}

// askBack asks for some words by their number.
func askBack(ctx context.Context, w io.Writer, answers *bufio.Reader, words []string) (bool, error) {
	numbers := rand.Perm(len(words))[:askedBack] //nolint:gosec // which words are asked is no secret
	slices.Sort(numbers)
	for _, i := range numbers {
		fmt.Fprintf(w, "Word %d: ", i+1)
		answer, err := readLine(ctx, answers)
		if err != nil {
			return false, err
		}
		if !strings.EqualFold(strings.TrimSpace(answer), words[i]) {
			return false, nil
		}
	}
	return true, nil
}

// readLine reads a line, or returns when ctx ends. A read from a terminal cannot be
// interrupted: its goroutine then ends with the process, which is about to exit.
func readLine(ctx context.Context, r *bufio.Reader) (string, error) {
	type line struct {
		text string
		err  error
	}
	lines := make(chan line, 1)
	go func() {
		text, err := r.ReadString('\n')
		if text != "" && errors.Is(err, io.EOF) {
			err = nil
		}
		lines <- line{text, err}
	}()
	select {
	case got := <-lines:
		return got.text, got.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
