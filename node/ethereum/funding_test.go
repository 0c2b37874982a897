package ethereum

import (
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/stretchr/testify/require"
)

// writeKeystore writes a keystore file and a password file as geth has them.
func writeKeystore(t *testing.T, password string) (keyFile, passwordFile string, address common.Address) {
	t.Helper()
	dir := t.TempDir()
	account, err := keystore.StoreKey(dir, "pass", keystore.LightScryptN/16, 1)
	require.NoError(t, err)
	passwordFile = filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(passwordFile, []byte(password), 0o600))
	return account.URL.Path, passwordFile, account.Address
}

func TestFundingFromKeystore(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"pass", "pass\n", "pass\r\n"} {
		keyFile, passwordFile, address := writeKeystore(t, password)
		funding, err := FundingFromKeystore(keyFile, passwordFile)
		require.NoError(t, err)
		require.Equal(t, address, funding.Address())

		chainID := big.NewInt(1337)
		tx := types.NewTx(&types.DynamicFeeTx{ChainID: chainID, To: &address, Value: big.NewInt(1)})
		signed, err := funding.SignTx(t.Context(), tx, chainID)
		require.NoError(t, err)
		from, err := types.Sender(types.LatestSignerForChainID(chainID), signed)
		require.NoError(t, err)
		require.Equal(t, address, from)

		secret := funding.key.Reveal().D.String() //nolint:staticcheck // as fmt would print it
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", funding, struct{ f any }{funding}, funding), secret)
		require.NoError(t, funding.Close())
		require.NoError(t, funding.Close())
		_, err = funding.SignTx(t.Context(), tx, chainID)
		require.ErrorIs(t, err, ErrFundingClosed)
	}
}

func TestFundingErrors(t *testing.T) {
	t.Parallel()
	keyFile, passwordFile, _ := writeKeystore(t, "guess")
	_, err := FundingFromKeystore(keyFile, passwordFile)
	require.ErrorContains(t, err, "password in "+passwordFile+" is wrong")
	require.NotContains(t, err.Error(), "guess")
	_, err = FundingFromKeystore(keyFile+"x", passwordFile)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "keystore file")
	_, err = FundingFromKeystore(keyFile, passwordFile+"x")
	require.ErrorContains(t, err, "password file")
	_, err = FundingFromKeystore(passwordFile, passwordFile)
	require.ErrorContains(t, err, "no keystore file")
}
