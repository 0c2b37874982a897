package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/uuid"
)

// funding is the account that pays for deposits, as a node gets it.
type funding struct {
	Keystore string // go-ethereum keystore file
	Password string // file
	Address  common.Address
}

// openFunding finds an account in a subfolder, or makes one.
func openFunding(f *folder, name string) (funding, error) {
	account := fundingIn(f.in(name))
	password, err := keepFile(account.Password, randomHex)
	if err != nil {
		return account, fmt.Errorf("funding account: %w", err)
	}
	raw, err := os.ReadFile(account.Keystore)
	if errors.Is(err, fs.ErrNotExist) {
		return account, account.create(password)
	}
	if err != nil {
		return account, fmt.Errorf("funding account: %w", err)
	}
	var file struct {
		Address common.UnprefixedAddress `json:"address"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return account, fmt.Errorf("funding account: %s: %w", account.Keystore, err)
	}
	account.Address = common.Address(file.Address)
	return account, nil
}

func fundingIn(dir string) funding {
	return funding{Keystore: filepath.Join(dir, "keystore.json"), Password: filepath.Join(dir, "password")}
}

// create makes an account and writes its keystore, with the light work factor: its
// ether is worth nothing, and every node decrypts it at its start.
func (a *funding) create(password string) error {
	secret, err := crypto.GenerateKey()
	if err != nil {
		return fmt.Errorf("funding account: %w", err)
	}
	a.Address = crypto.PubkeyToAddress(secret.PublicKey)
	key := &keystore.Key{Id: uuid.New(), Address: a.Address, PrivateKey: secret}
	raw, err := keystore.EncryptKey(key, password, keystore.LightScryptN, keystore.LightScryptP)
	if err != nil {
		return fmt.Errorf("funding account: %w", err)
	}
	return writeFile(a.Keystore, raw)
}
