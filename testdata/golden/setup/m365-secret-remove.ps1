# Made by pecgate for relay secret of pecgate.comune.example. docs/groupware.md explains every line.
# Microsoft 365: takes away what pecgate setup m365 made, and nothing else. Run it after Connect-ExchangeOnline.
# Stop at the first error instead of going on with half a set-up.
$ErrorActionPreference = 'Stop'
# The name of all that is made, and the comment by which it is known again: what bears another is never touched.
$Name = 'pecgate secret'
$Marker = 'Made by pecgate setup m365 for relay secret'

# The mail-flow rules, known by their comment, whatever users they were for.
Get-TransportRule | Where-Object { $_.Comments -eq $Marker } | ForEach-Object { Remove-TransportRule -Identity $_.Name -Confirm:$false }

# The connectors, once no rule names them any more.
Get-OutboundConnector | Where-Object { $_.Name -eq $Name -and $_.Comment -eq $Marker } | ForEach-Object { Remove-OutboundConnector -Identity $_.Name -Confirm:$false }
Get-InboundConnector | Where-Object { $_.Name -eq $Name -and $_.Comment -eq $Marker } | ForEach-Object { Remove-InboundConnector -Identity $_.Name -Confirm:$false }

# The remote domains, by name and domain.
$remoteDomains = @{ 'pecgate secret *.pec' = '*.pec'; 'pecgate secret pecgate.comune.example' = 'pecgate.comune.example' }
foreach ($key in $remoteDomains.Keys) {
    $domain = $remoteDomains[$key]
    Get-RemoteDomain | Where-Object { $_.Name -eq $key -and "$($_.DomainName)" -eq $domain } | ForEach-Object { Remove-RemoteDomain -Identity $_.Name -Confirm:$false }
}

Write-Host 'Done.'
